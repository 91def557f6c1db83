"""Triton's kernels of `bias_gelu`. T rows, F columns; gelu(z) = z P(z), P the normal distribution."""

# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dnabert_nemo.kernels import triton_rows

_WIDEST = 256


class BiasGelu(torch.autograd.Function):
    """Keeps x and the bias; the bias's gradient is summed program by program, so it is always the same."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        triton_rows.check(x, bias)
        x, bias = x.contiguous(), bias.contiguous()
        result = torch.empty_like(x)
        num_columns = x.shape[-1]
        num_rows = x.numel() // max(num_columns, 1)
        rows, columns, warps = triton_rows.tile(num_columns, _WIDEST)
        if x.numel():
            _forward[(triton.cdiv(num_rows, rows), triton.cdiv(num_columns, columns))](
                x, bias, result, num_rows, num_columns, ROWS=rows, COLUMNS=columns, num_warps=warps
            )
        ctx.save_for_backward(x, bias)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_result: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, bias = ctx.saved_tensors
        d_x = torch.empty_like(x)
        num_columns = x.shape[-1]
        num_rows = x.numel() // max(num_columns, 1)
        rows, columns, warps = triton_rows.tile(num_columns, _WIDEST)
        across = max(triton.cdiv(num_columns, columns), 1)
        down = min(triton.cdiv(num_rows, rows), triton.cdiv(triton_rows.resident_programs(x.device), across))
        partial = torch.zeros((down, num_columns), dtype=torch.float32, device=x.device)
        if x.numel():
            _backward[(down, across)](
                d_result.contiguous(),
                x,
                bias,
                d_x,
                partial,
                num_rows,
                num_columns,
                ROWS=rows,
                COLUMNS=columns,
                num_warps=warps,
            )
        return d_x, partial.sum(0).to(bias.dtype)


@triton.jit
def _forward(
    x,
    bias,
    result,
    num_rows,
    num_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < num_columns
    here = (rows < num_rows)[:, None] & is_column[None, :]
    at = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
    z = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    z += tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)[None, :]
    below = 0.5 + 0.5 * tl.erf(z * 0.7071067811865476)
    tl.store(result + at, (z * below).to(result.dtype.element_ty), mask=here)


@triton.jit
def _backward(
    d_result,
    x,
    bias,
    d_x,
    partial,
    num_rows,
    num_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.program_id(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < num_columns
    biases = tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)
    sum_bias = tl.zeros((COLUMNS,), tl.float32)
    for start in range(program * ROWS, num_rows, tl.num_programs(0) * ROWS):
        rows = start + tl.arange(0, ROWS)
        here = (rows < num_rows)[:, None] & is_column[None, :]
        at = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
        z = tl.load(x + at, mask=here, other=0.0).to(tl.float32) + biases[None, :]
        below = 0.5 + 0.5 * tl.erf(z * 0.7071067811865476)
        density = 0.3989422804014327 * tl.exp(-0.5 * z * z)
        gradient = tl.load(d_result + at, mask=here, other=0.0).to(tl.float32) * (below + z * density)
        tl.store(d_x + at, gradient.to(d_x.dtype.element_ty), mask=here)
        sum_bias += tl.sum(gradient, 0)
    tl.store(partial + program.to(tl.int64) * num_columns + columns, sum_bias, mask=is_column)
