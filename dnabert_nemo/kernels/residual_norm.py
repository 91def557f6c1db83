"""The end of a sublayer in one pass: bias, dropout, residual addition and LayerNorm.

T packed tokens, H hidden. Pre-LN layers go on with both outputs, post-LN layers with the normed one alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


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
    """Return (summed, normed): residual + dropout(x + bias), and its LayerNorm, by Triton.

    Statistics and sums are fp32 whatever is stored. The mask comes from a seed drawn from torch's generator
    of the device, and is drawn again from that seed for the gradient; nothing is drawn where p is 0.

    Args:
        x, residual: [..., H], of one shape; fp32, bf16 or fp16.
        bias: [H], or None.
        weight, norm_bias: [H], LayerNorm's scale and shift.
        p: the share of elements to drop, 0 <= p < 1; 0 outside training.

    Returns:
        summed as `residual` is stored, normed as `x` is, both [..., H]; gradients flow through both.

    Raises:
        ConfigError: the tensors are not on a GPU and Triton does not interpret, or H is above 16,384.
        ValueError: shapes that do not fit, or p out of range.
    """
    from dnabert_nemo.kernels.triton_residual_norm import ResidualDropoutNorm

    _check(x, bias, residual, weight, norm_bias, p)
    summed, normed = ResidualDropoutNorm.apply(  # type: ignore[no-untyped-call]
        x, bias, residual, weight, norm_bias, p, eps
    )
    return summed, normed


def torch_residual_dropout_norm(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor,
    weight: torch.Tensor,
    norm_bias: torch.Tensor,
    *,
    p: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `residual_dropout_norm` returns, by plain torch and with another mask."""
    _check(x, bias, residual, weight, norm_bias, p)
    added = x if bias is None else x + bias
    summed = (residual + F.dropout(added, p)).to(residual.dtype)
    scale, shift = weight.to(summed.dtype), norm_bias.to(summed.dtype)
    return summed, F.layer_norm(summed, weight.shape, scale, shift, eps).to(x.dtype)


def _check(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor,
    weight: torch.Tensor,
    norm_bias: torch.Tensor,
    p: float,
) -> None:
    if x.dim() < 1 or residual.shape != x.shape:
        raise ValueError(f"x is {tuple(x.shape)}, the residual {tuple(residual.shape)}")
    for name, vector in (("bias", bias), ("weight", weight), ("norm_bias", norm_bias)):
        if vector is not None and vector.shape != x.shape[-1:]:
            raise ValueError(f"x is {tuple(x.shape)}, {name} {tuple(vector.shape)}")
    if not 0 <= p < 1:
        raise ValueError(f"p = {p} is not a share of elements to drop: 0 <= p < 1")
