"""Bias and GELU in one kernel: the form with erf, its gradient, and what it refuses."""

from __future__ import annotations

import math

import parity
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.kernels.bias_gelu import bias_gelu, torch_bias_gelu

DEVICE = parity.device()


def test_the_twin_is_the_definition_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "bias_gelu", torch_bias_gelu)
    case = parity.bias_gelu_parity((9, 129), "")
    found = case.measure(torch.float32, DEVICE)
    assert case.holds(found, torch.float32), found


@settings(max_examples=50, deadline=None)
@given(x=st.floats(-12, 12), bias=st.floats(-12, 12))
def test_it_is_z_times_the_normal_distribution_of_z(x: float, bias: float) -> None:
    given_x = torch.tensor([[x]], device=DEVICE, requires_grad=True)
    given_bias = torch.tensor([bias], device=DEVICE, requires_grad=True)
    result = bias_gelu(given_x, given_bias)
    d_x, d_bias = torch.autograd.grad(result.sum(), (given_x, given_bias))
    z = float(given_x + given_bias)
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    slope = below + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    # 1 + erf is off by an fp32 unit of 1 where it is all but 0
    assert float(result) == pytest.approx(z * below, rel=1e-6, abs=2.0**-23 * (1 + abs(z)))
    assert float(d_x) == pytest.approx(slope, rel=1e-6, abs=2.0**-22)
    assert float(d_bias) == float(d_x)


def test_the_form_with_tanh_is_another_function() -> None:
    x = torch.linspace(-4, 4, 129, device=DEVICE)[None]
    tanh_form = torch.nn.functional.gelu(x, approximate="tanh")
    assert float((bias_gelu(x, torch.zeros(129, device=DEVICE)) - tanh_form).abs().max()) > 4e-4


def test_the_gradient_of_the_bias_is_the_same_every_time() -> None:
    x = parity.normal(130, 65, dtype=torch.float32, device=DEVICE, seed=0).requires_grad_()
    bias = parity.normal(65, dtype=torch.float32, device=DEVICE, seed=1).requires_grad_()
    once, again = (torch.autograd.grad(bias_gelu(x, bias).square().sum(), bias)[0] for _ in range(2))
    assert torch.equal(once, again)


def test_shapes_that_do_not_fit_are_refused() -> None:
    for function in (bias_gelu, torch_bias_gelu):
        with pytest.raises(ValueError, match=r"x is \(3, 7\), the bias \(1,\)"):
            function(torch.zeros(3, 7, device=DEVICE), torch.zeros(1, device=DEVICE))
