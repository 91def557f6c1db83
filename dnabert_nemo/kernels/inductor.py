"""The definitions in torch of what Triton fuses, compiled by torch.compile's Inductor for the device at hand.

Compiled at their first call for any number of tokens, which takes some seconds; forward and backward, CPU and
GPU. T packed tokens, H hidden, F inner size of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from dnabert_nemo.kernels.bias_gelu import torch_bias_gelu
from dnabert_nemo.kernels.residual_norm import torch_residual_dropout_norm


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return `torch_bias_gelu`, compiled: [..., F]."""
    result: torch.Tensor = _compiled(torch_bias_gelu)(x, bias)
    return result


def residual_dropout_norm(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor,
    weight: torch.Tensor,
    norm_bias: torch.Tensor,
    *,
    p: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `torch_residual_dropout_norm`, compiled: the sum and its LayerNorm, both [..., H].

    The mask is Inductor's own, from a seed that it draws from torch's generator of the device.
    """
    summed, normed = _compiled(torch_residual_dropout_norm)(
        x, bias, residual, weight, norm_bias, p=p, eps=eps
    )
    return summed, normed
