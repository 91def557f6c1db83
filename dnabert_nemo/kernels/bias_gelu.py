"""Bias and GELU of the MLP in one pass, the exact form with erf. T packed tokens, F inner size of the MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return gelu(x + bias) [..., F] by Triton, which keeps x and computes the rest again for the gradient.

    Args:
        x: [..., F]; fp32, bf16 or fp16.
        bias: [F].

    Raises:
        ConfigError: the tensors are not on a GPU and Triton does not interpret its kernels.
        ValueError: shapes that do not fit.
    """
    from dnabert_nemo.kernels.triton_bias_gelu import BiasGelu

    _check(x, bias)
    result: torch.Tensor = BiasGelu.apply(x, bias)  # type: ignore[no-untyped-call]
    return result


def torch_bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return what `bias_gelu` returns, by plain torch."""
    _check(x, bias)
    return F.gelu((x + bias).to(x.dtype))


def _check(x: torch.Tensor, bias: torch.Tensor) -> None:
    if x.dim() < 1 or bias.shape != x.shape[-1:]:
        raise ValueError(f"x is {tuple(x.shape)}, the bias {tuple(bias.shape)}")
