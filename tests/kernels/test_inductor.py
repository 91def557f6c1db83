"""What torch.compile makes of the fused pieces: their values, their gradients, and one mask for both."""

from __future__ import annotations

import math

import parity
import pytest
import torch

from dnabert_nemo.kernels import inductor
from dnabert_nemo.kernels.choose import Device

pytestmark = pytest.mark.skipif("c++" not in Device.here(None).has, reason="no C++ compiler")
CASES = [
    parity.residual_norm_parity((130, 129), 0.0, ""),
    parity.residual_norm_parity((17, 1, 768), 0.0, ""),
    parity.residual_norm_parity((0, 129), 0.0, ""),
    parity.residual_norm_parity((3, 129), 0.0, "strided"),
    parity.bias_gelu_parity((130, 129), ""),
    parity.bias_gelu_parity((1, 1), ""),
    parity.bias_gelu_parity((3, 129), "strided"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_within_the_tolerances_of_the_fused_kernels(
    monkeypatch: pytest.MonkeyPatch, case: parity.Case, dtype: torch.dtype
) -> None:
    for name in ("bias_gelu", "residual_dropout_norm"):
        monkeypatch.setattr(parity, name, getattr(inductor, name))
    found = case.measure(dtype, "cpu")
    assert case.holds(found, dtype), found


def _summed(x: torch.Tensor, p: float) -> torch.Tensor:
    """Return dropout(x), by way of a residual of zeros."""
    weight, bias = torch.ones(x.shape[-1]), torch.zeros(x.shape[-1])
    return inductor.residual_dropout_norm(x, None, torch.zeros_like(x), weight, bias, p=p, eps=1e-5)[0]


def test_dropout_zeroes_its_share_scales_the_rest_and_has_one_mask_for_both_ways() -> None:
    p, x = 0.3, torch.ones(500, 256, requires_grad=True)
    summed = _summed(x, p)
    (gradient,) = torch.autograd.grad(summed.sum(), x)
    assert torch.equal(summed.detach(), gradient)
    assert summed.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    dropped = float((summed == 0).double().mean())
    assert abs(dropped - p) <= 4 * math.sqrt(p * (1 - p) / x.numel())


def test_the_mask_follows_from_torchs_generator() -> None:
    """So that a run repeats, and activations that are computed again are the same."""
    x = torch.ones(64, 256)
    state = torch.get_rng_state()
    first, second = _summed(x, 0.5), _summed(x, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(_summed(x, 0.5), first)
    assert not torch.equal(first, second)
