"""Bias, dropout, residual and LayerNorm in one kernel: the mask, both outputs, and what it refuses."""

from __future__ import annotations

from typing import Any

import parity
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels import triton_rows
from dnabert_nemo.kernels.residual_norm import residual_dropout_norm, torch_residual_dropout_norm

DEVICE = parity.device()


def inputs(num_rows: int, width: int) -> list[torch.Tensor]:
    """Draw x, bias, residual, weight and norm_bias."""
    shapes = [(num_rows, width), (width,), (num_rows, width), (width,), (width,)]
    return [
        parity.normal(*shape, dtype=torch.float32, device=DEVICE, seed=seed).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]


def test_the_twin_is_the_definition_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "residual_dropout_norm", torch_residual_dropout_norm)
    for shape in ((9, 129), (3, 7), (5, 1, 768)):
        case = parity.residual_norm_parity(shape, 0.0, "")
        found = case.measure(torch.float32, DEVICE)
        assert case.holds(found, torch.float32), found


def test_the_share_of_elements_asked_for_is_dropped_each_by_itself() -> None:
    p, shape = 0.3, (64, 640)
    kept = parity.kept(shape, p, DEVICE).double()
    assert abs(float(kept.mean()) - (1 - p)) < 4 * (p * (1 - p) / kept.numel()) ** 0.5
    # neighbours share a call of Philox, in rows and columns: they agree as often as independent draws do
    agreeing = p**2 + (1 - p) ** 2
    for step in (1, 2, 3, 4, 640):
        agree = (kept.flatten()[step:] == kept.flatten()[:-step]).double()
        assert abs(float(agree.mean()) - agreeing) < 4 * (agreeing * (1 - agreeing) / agree.numel()) ** 0.5


def test_every_place_in_a_tile_is_dropped_sometimes_and_kept_sometimes() -> None:
    kept = torch.stack([parity.kept((3, 9), 0.5, DEVICE, seed) for seed in range(24)])
    assert kept.any(0).all()
    assert not kept.all(0).any()


def test_what_is_kept_is_scaled_to_keep_the_mean() -> None:
    x, columns = torch.full((5, 129), 3.0, device=DEVICE), torch.ones(129, device=DEVICE)
    summed, _ = residual_dropout_norm(x, None, torch.zeros_like(x), columns, columns, p=0.25, eps=1e-5)
    assert set(summed.flatten().tolist()) == {0.0, 4.0}


def test_the_mask_is_that_of_torchs_generator_and_rows_do_not_depend_on_how_many_there_are() -> None:
    first, again, other = (parity.kept((6, 129), 0.5, DEVICE, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(parity.kept((2, 129), 0.5, DEVICE), first[:2])


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_the_gradient_flows_where_the_output_was_kept_and_nowhere_else(p: float) -> None:
    x, bias, residual, weight, norm_bias = inputs(7, 129)
    kept = parity.kept((7, 129), p, DEVICE)
    torch.manual_seed(3)
    summed, _ = residual_dropout_norm(x, bias, residual, weight, norm_bias, p=p, eps=1e-5)
    assert torch.equal((summed - residual).detach() != 0, kept)
    above = torch.rand_like(summed) + 0.5
    d_x, d_residual = torch.autograd.grad(summed, (x, residual), above)
    assert torch.equal(d_residual, above)
    torch.testing.assert_close(d_x, kept * above / (1 - p), rtol=1e-6, atol=0)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    drawn_from = torch.cuda.get_rng_state if DEVICE == "cuda" else torch.get_rng_state
    before = drawn_from()
    residual_dropout_norm(*inputs(3, 7), p=0.0, eps=1e-5)
    assert torch.equal(drawn_from(), before)
    residual_dropout_norm(*inputs(3, 7), p=0.5, eps=1e-5)
    assert not torch.equal(drawn_from(), before)


def test_recomputation_draws_the_same_mask() -> None:
    given = inputs(5, 129)

    def layer(*tensors: torch.Tensor) -> torch.Tensor:
        return residual_dropout_norm(*tensors, p=0.5, eps=1e-5)[1]

    gradients = []
    for run in (layer, lambda *tensors: checkpoint(layer, *tensors, use_reentrant=False)):
        torch.manual_seed(11)
        out = run(*given)
        torch.manual_seed(12)  # what comes between the forward pass and the backward pass draws too
        gradients.append(torch.autograd.grad(out.square().sum(), given))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("used", [(True, False), (False, True)])
def test_each_output_may_be_the_only_one_used(used: tuple[bool, bool]) -> None:
    ours, twins = (
        _gradients(function, used) for function in (residual_dropout_norm, torch_residual_dropout_norm)
    )
    for one, other in zip(ours, twins, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def _gradients(function: Any, used: tuple[bool, bool]) -> tuple[torch.Tensor | None, ...]:
    given = inputs(5, 129)
    outputs = [out for out, is_used in zip(function(*given, p=0.0, eps=1e-5), used, strict=True) if is_used]
    above = [parity.normal(5, 129, dtype=torch.float32, device=DEVICE, seed=9)]
    return torch.autograd.grad(outputs, given, above, allow_unused=True)


def test_it_does_without_a_bias_and_with_an_fp32_residual() -> None:
    x, _, residual, weight, norm_bias = inputs(5, 129)
    x = x.detach().bfloat16().requires_grad_()
    given = x, residual, weight, norm_bias
    results = []
    for function in (residual_dropout_norm, torch_residual_dropout_norm):
        summed, normed = function(x, None, residual, weight, norm_bias, p=0.0, eps=1e-5)
        assert (summed.dtype, normed.dtype) == (torch.float32, torch.bfloat16)
        results.append([summed, normed, *torch.autograd.grad((summed.sum() + normed.float().sum()), given)])
        assert [each.dtype for each in results[-1][2:]] == [each.dtype for each in given]
    for one, other in zip(*results, strict=True):
        most = parity.tolerance(one.dtype) * float(other.detach().abs().max())
        assert float((one - other).detach().abs().max()) <= most


@settings(max_examples=15, deadline=None)
@given(
    num_rows=st.integers(1, 9),
    width=st.integers(2, 70),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    shift=st.sampled_from([0.0, 50.0]),
)
def test_rows_are_normed_whatever_their_scale_and_mean(
    num_rows: int, width: int, scale: float, shift: float
) -> None:
    x, bias, residual, *_ = (each.detach() for each in inputs(num_rows, width))
    ones, zeros = torch.ones(width, device=DEVICE), torch.zeros(width, device=DEVICE)
    summed, normed = residual_dropout_norm(
        x * scale + shift * scale, bias * scale, residual * scale, ones, zeros, p=0.0, eps=1e-12
    )
    exact = summed.double()
    deviation = (exact.var(1, correction=0, keepdim=True) + 1e-12).sqrt()
    expected = (exact - exact.mean(1, keepdim=True)) / deviation
    # the rounding of the mean, 2^-24 of it, is large beside a small deviation
    blown_up = float((exact.mean(1, keepdim=True).abs() / deviation).max())
    assert float((normed - expected).abs().max()) <= (2 + blown_up) * 2.0**-20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual": torch.zeros(3, 8)}, "the residual (3, 8)"),
        ({"weight": torch.zeros(8)}, "weight (8,)"),
        ({"bias": torch.zeros(1)}, "bias (1,)"),
        ({"p": 1.0}, "p = 1.0"),
        ({"p": -0.1}, "p = -0.1"),
    ],
)
@pytest.mark.parametrize("function", [residual_dropout_norm, torch_residual_dropout_norm])
def test_shapes_that_do_not_fit_are_refused(function: Any, change: dict[str, Any], message: str) -> None:
    names = ("x", "bias", "residual", "weight", "norm_bias")
    given: dict[str, Any] = dict(zip(names, inputs(3, 7), strict=True)) | {"p": 0.0, "eps": 1e-5} | change
    with pytest.raises(ValueError, match=r"^(p = |x is)") as caught:
        function(**given)
    assert message in str(caught.value)


def test_rows_too_wide_for_a_tile_are_refused_by_the_key_to_change() -> None:
    wide = torch.zeros(1, 16385, device=DEVICE)
    with pytest.raises(ConfigError, match=r"model\.hidden_size=16385.*model\.kernels=torch"):
        residual_dropout_norm(wide, None, wide, wide[0], wide[0], p=0.0, eps=1e-5)


def test_types_the_kernels_do_not_store_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        residual_dropout_norm(*(each.double() for each in inputs(3, 7)), p=0.0, eps=1e-5)


def test_without_a_gpu_or_the_interpreter_the_message_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_rows, "INTERPRETED", False)
    with pytest.raises(ConfigError, match=r"model\.kernels=torch"):
        residual_dropout_norm(*(each.cpu() for each in inputs(3, 7)), p=0.0, eps=1e-5)
