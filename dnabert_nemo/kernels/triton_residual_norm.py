"""Triton's kernels of `residual_norm`. T rows, H columns; a tile holds whole rows, so H is bounded."""

# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels import triton_rows

MAX_HIDDEN = 16384
_DRAWS = 1 << 24  # a word of Philox is cut to 24 bits, which an int32 holds


class ResidualDropoutNorm(torch.autograd.Function):
    """Keeps the summed rows with their mean and 1 / standard deviation, and the seed of the mask."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        bias: torch.Tensor | None,
        residual: torch.Tensor,
        weight: torch.Tensor,
        norm_bias: torch.Tensor,
        p: float,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        triton_rows.check(x, bias, residual, weight, norm_bias)
        num_columns = x.shape[-1]
        if num_columns > MAX_HIDDEN:
            raise ConfigError(
                f"model.hidden_size={num_columns}: Triton's LayerNorm holds rows of at most {MAX_HIDDEN}; "
                "set model.kernels=torch"
            )
        x, residual, weight, norm_bias = (each.contiguous() for each in (x, residual, weight, norm_bias))
        bias = None if bias is None else bias.contiguous()
        num_rows = x.numel() // max(num_columns, 1)
        summed, normed = torch.empty_like(residual), torch.empty_like(x)
        mean, rstd = torch.empty((2, num_rows), dtype=torch.float32, device=x.device)
        seed = torch.randint(2**63 - 1, (1,), device=x.device) if p > 0 else None
        threshold = min(round(p * _DRAWS), _DRAWS - 1)
        scale = _DRAWS / (_DRAWS - threshold)
        rows, columns, warps = triton_rows.tile(num_columns, MAX_HIDDEN)
        if x.numel():
            _forward[(triton.cdiv(num_rows, rows),)](
                x,
                x if bias is None else bias,
                residual,
                weight,
                norm_bias,
                mean if seed is None else seed,
                summed,
                normed,
                mean,
                rstd,
                num_rows,
                num_columns,
                eps,
                threshold,
                scale,
                HAS_BIAS=bias is not None,
                DROPS=seed is not None,
                ROWS=rows,
                COLUMNS=columns,
                num_warps=warps,
            )
        ctx.save_for_backward(summed, mean, rstd, weight, seed)
        ctx.set_materialize_grads(False)
        ctx.dropout = threshold, scale
        ctx.dtypes = x.dtype, None if bias is None else bias.dtype, weight.dtype, norm_bias.dtype
        return summed, normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_summed: torch.Tensor | None, d_normed: torch.Tensor | None) -> tuple[Any, ...]:
        if d_summed is None and d_normed is None:
            return (None,) * 7
        summed, mean, rstd, weight, seed = ctx.saved_tensors
        x_dtype, bias_dtype, weight_dtype, norm_bias_dtype = ctx.dtypes
        num_columns = summed.shape[-1]
        num_rows = mean.numel()
        d_residual = torch.empty_like(summed)
        one_for_both = seed is None and x_dtype == summed.dtype
        d_x = d_residual if one_for_both else torch.empty_like(summed, dtype=x_dtype)
        rows, columns, warps = triton_rows.tile(num_columns, MAX_HIDDEN)
        programs = min(triton.cdiv(num_rows, rows), triton_rows.resident_programs(summed.device))
        partial = torch.zeros((3, programs, num_columns), dtype=torch.float32, device=summed.device)
        if summed.numel():
            _backward[(programs,)](
                summed if d_summed is None else d_summed.contiguous(),
                summed if d_normed is None else d_normed.contiguous(),
                summed,
                mean,
                rstd,
                weight,
                mean if seed is None else seed,
                d_residual,
                d_x,
                partial,
                num_rows,
                num_columns,
                *ctx.dropout,
                HAS_D_SUMMED=d_summed is not None,
                HAS_D_NORMED=d_normed is not None,
                HAS_BIAS=bias_dtype is not None,
                DROPS=seed is not None,
                WRITES_D_X=not one_for_both,
                ROWS=rows,
                COLUMNS=columns,
                num_warps=warps,
            )
        d_bias, d_weight, d_norm_bias = partial.sum(1)
        return (
            d_x,
            None if bias_dtype is None else d_bias.to(bias_dtype),
            d_residual,
            None if d_normed is None else d_weight.to(weight_dtype),
            None if d_normed is None else d_norm_bias.to(norm_bias_dtype),
            None,
            None,
        )


@triton.jit
def _kept(seed, rows, threshold, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Say which elements of a tile are kept: a pure function of the seed, the row and the column.

    Philox gives four words a call; each is one of four neighbouring columns, as one call costs more than
    the loads and stores of an element.
    """
    zeros = tl.zeros((ROWS, COLUMNS // 4), tl.int32)
    fours = zeros + tl.arange(0, COLUMNS // 4)[None, :]
    word_0, word_1, word_2, word_3 = tl.philox(seed, fours, zeros + rows[:, None], zeros, zeros)
    words = tl.interleave(tl.interleave(word_0, word_2), tl.interleave(word_1, word_3))
    return (words >> 8).to(tl.int32) >= threshold


@triton.jit
def _forward(
    x,
    bias,
    residual,
    weight,
    norm_bias,
    seed,
    summed,
    normed,
    mean,
    rstd,
    num_rows,
    num_columns,
    eps,
    threshold,
    scale,
    HAS_BIAS: tl.constexpr,
    DROPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    is_row, is_column = rows < num_rows, columns < num_columns
    here = is_row[:, None] & is_column[None, :]
    at = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]

    value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)[None, :]
    if DROPS:
        value = tl.where(_kept(tl.load(seed), rows, threshold, ROWS, COLUMNS), value * scale, 0.0)
    value += tl.load(residual + at, mask=here, other=0.0).to(tl.float32)
    rounded = value.to(summed.dtype.element_ty)
    tl.store(summed + at, rounded, mask=here)

    value = rounded.to(tl.float32)  # the statistics are those of what the backward pass will read
    row_mean = tl.sum(value, 1) / num_columns
    centred = tl.where(here, value - row_mean[:, None], 0.0)
    row_rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / num_columns + eps)
    scales = tl.load(weight + columns, mask=is_column, other=0.0).to(tl.float32)
    shifts = tl.load(norm_bias + columns, mask=is_column, other=0.0).to(tl.float32)
    result = centred * row_rstd[:, None] * scales[None, :] + shifts[None, :]
    tl.store(normed + at, result.to(normed.dtype.element_ty), mask=here)
    tl.store(mean + rows, row_mean, mask=is_row)
    tl.store(rstd + rows, row_rstd, mask=is_row)


@triton.jit
def _backward(
    d_summed,
    d_normed,
    summed,
    mean,
    rstd,
    weight,
    seed,
    d_residual,
    d_x,
    partial,
    num_rows,
    num_columns,
    threshold,
    scale,
    HAS_D_SUMMED: tl.constexpr,
    HAS_D_NORMED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    DROPS: tl.constexpr,
    WRITES_D_X: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program, num_programs = tl.program_id(0), tl.num_programs(0)
    columns = tl.arange(0, COLUMNS)
    is_column = columns < num_columns
    scales = tl.load(weight + columns, mask=is_column, other=0.0).to(tl.float32)
    sum_bias = tl.zeros((COLUMNS,), tl.float32)
    sum_weight = tl.zeros((COLUMNS,), tl.float32)
    sum_norm_bias = tl.zeros((COLUMNS,), tl.float32)
    for start in range(program * ROWS, num_rows, num_programs * ROWS):
        rows = start + tl.arange(0, ROWS)
        is_row = rows < num_rows
        here = is_row[:, None] & is_column[None, :]
        at = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
        gradient = tl.zeros((ROWS, COLUMNS), tl.float32)
        if HAS_D_NORMED:
            row_mean = tl.load(mean + rows, mask=is_row, other=0.0)
            row_rstd = tl.load(rstd + rows, mask=is_row, other=0.0)
            value = tl.load(summed + at, mask=here, other=0.0).to(tl.float32)
            standard = tl.where(here, (value - row_mean[:, None]) * row_rstd[:, None], 0.0)
            above = tl.load(d_normed + at, mask=here, other=0.0).to(tl.float32)
            sum_weight += tl.sum(above * standard, 0)
            sum_norm_bias += tl.sum(above, 0)
            above *= scales[None, :]
            along = tl.sum(above * standard, 1) / num_columns
            common = tl.sum(above, 1) / num_columns
            gradient = (above - standard * along[:, None] - common[:, None]) * row_rstd[:, None]
        if HAS_D_SUMMED:
            gradient += tl.load(d_summed + at, mask=here, other=0.0).to(tl.float32)
        tl.store(d_residual + at, gradient.to(d_residual.dtype.element_ty), mask=here)
        if DROPS:
            gradient = tl.where(_kept(tl.load(seed), rows, threshold, ROWS, COLUMNS), gradient * scale, 0.0)
        if WRITES_D_X:
            tl.store(d_x + at, gradient.to(d_x.dtype.element_ty), mask=here)
        if HAS_BIAS:
            sum_bias += tl.sum(gradient, 0)
    at_program = partial + program.to(tl.int64) * num_columns + columns
    one_sum = num_programs.to(tl.int64) * num_columns
    tl.store(at_program, sum_bias, mask=is_column)
    tl.store(at_program + one_sum, sum_weight, mask=is_column)
    tl.store(at_program + 2 * one_sum, sum_norm_bias, mask=is_column)
