"""Triton's kernels of `cross_entropy`. M rows, V / R columns, read in blocks, of any strides."""

# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dnabert_nemo.kernels import triton_rows
from dnabert_nemo.kernels.cross_entropy import Columns, Parts, Statistics

_WIDEST = 4096


def statistics(logits: torch.Tensor, labels: torch.Tensor, columns: Columns) -> Statistics:
    """Return the largest logit, the sum of exp(logit - largest) and the label's logit of each row."""
    triton_rows.check(logits)
    largest, total, label_logit = logits.new_empty((3, logits.shape[0]), dtype=torch.float32)
    if logits.numel():
        grid, sizes = _layout(logits)
        _statistics_kernel[grid](
            logits, labels, *logits.stride(), *logits.shape, *columns, largest, total, label_logit, **sizes
        )
    return largest, total, label_logit


def write_gradient(
    logits: torch.Tensor,
    labels: torch.Tensor,
    first: int,
    largest: torch.Tensor,
    total: torch.Tensor,
    stored: float,
) -> None:
    """Replace the logits by (softmax - onehot) * stored."""
    if logits.numel():
        grid, sizes = _layout(logits)
        _gradient_kernel[grid](
            logits, labels, *logits.stride(), *logits.shape, first, largest, total, stored, **sizes
        )


def losses_and_gradient(
    logits: torch.Tensor, labels: torch.Tensor, columns: Columns, stored: float
) -> torch.Tensor:
    """Return the losses and replace the logits by (softmax - onehot) * stored, in one kernel."""
    triton_rows.check(logits)
    losses = logits.new_empty(logits.shape[0], dtype=torch.float32)
    if logits.numel():
        grid, sizes = _layout(logits)
        _losses_and_gradient_kernel[grid](
            logits, labels, *logits.stride(), *logits.shape, *columns, losses, stored, **sizes
        )
    return losses


def scale_rows(gradient: torch.Tensor, factors: torch.Tensor) -> None:
    """Multiply each row by its factor, in place."""
    if gradient.numel():
        grid, sizes = _layout(gradient)
        _scale_kernel[grid](gradient, *gradient.stride(), *gradient.shape, factors.contiguous(), **sizes)


PARTS = Parts(statistics, write_gradient, losses_and_gradient, scale_rows)


def _layout(logits: torch.Tensor) -> tuple[tuple[int], dict[str, int]]:
    rows, columns, warps = triton_rows.tile(logits.shape[1], _WIDEST)
    return (triton.cdiv(logits.shape[0], rows),), {"ROWS": rows, "COLUMNS": columns, "num_warps": warps}


@triton.jit
def _addresses(logits, row_stride, column_stride, num_rows, num_columns, rows, start, COLUMNS: tl.constexpr):
    """Return the addresses of a block of columns, which of them are there, and the columns' numbers."""
    columns = start + tl.arange(0, COLUMNS)
    here = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    at = rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
    return logits + at, here, columns


@triton.jit
def _row_statistics(
    logits,
    labels,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    first,
    low,
    high,
    rows,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Return the largest logit, the sum of exp(logit - largest), and the label's logit of each row."""
    is_row = rows < num_rows
    label = tl.load(labels + rows, mask=is_row, other=0)
    at = tl.where((label >= first) & (label < first + num_columns), label - first, -1)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    label_logit = tl.zeros((ROWS,), tl.float32)
    for start in range(0, num_columns, COLUMNS):
        addresses, here, columns = _addresses(
            logits, row_stride, column_stride, num_rows, num_columns, rows, start, COLUMNS
        )
        values = tl.load(addresses, mask=here, other=float("-inf")).to(tl.float32)
        # out of what was loaded, since its place may hold the gradient by the time a load of its own is made
        label_logit += tl.sum(tl.where(columns[None, :] == at[:, None], values, 0.0), 1)
        larger = tl.maximum(largest, tl.max(values, 1))
        base = tl.where(larger == float("-inf"), 0.0, larger)  # where nothing but minus infinity came so far
        total = total * tl.exp(largest - base) + tl.sum(tl.exp(values - base[:, None]), 1)
        largest = larger
    label_logit = tl.where((label >= low) & (label < high), label_logit, float("nan"))
    return tl.where(is_row, largest, 0.0), tl.where(is_row, total, 1.0), label_logit


@triton.jit
def _replace_by_gradient(
    logits,
    labels,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    first,
    largest,
    total,
    stored,
    rows,
    COLUMNS: tl.constexpr,
):
    at = tl.load(labels + rows, mask=rows < num_rows, other=0) - first
    for start in range(0, num_columns, COLUMNS):
        addresses, here, columns = _addresses(
            logits, row_stride, column_stride, num_rows, num_columns, rows, start, COLUMNS
        )
        values = tl.load(addresses, mask=here, other=float("-inf")).to(tl.float32)
        share = tl.exp(values - largest[:, None]) / total[:, None]
        gradient = tl.where(columns[None, :] == at[:, None], share - 1.0, share) * stored
        gradient = tl.where(values == float("-inf"), 0.0, gradient)
        tl.store(addresses, gradient.to(logits.dtype.element_ty), mask=here)


@triton.jit
def _statistics_kernel(
    logits,
    labels,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    first,
    low,
    high,
    largest,
    total,
    label_logit,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    own_largest, own_total, own_label_logit = _row_statistics(
        logits,
        labels,
        row_stride,
        column_stride,
        num_rows,
        num_columns,
        first,
        low,
        high,
        rows,
        ROWS,
        COLUMNS,
    )
    tl.store(largest + rows, own_largest, mask=rows < num_rows)
    tl.store(total + rows, own_total, mask=rows < num_rows)
    tl.store(label_logit + rows, own_label_logit, mask=rows < num_rows)


@triton.jit
def _gradient_kernel(
    logits,
    labels,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    first,
    largest,
    total,
    stored,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    _replace_by_gradient(
        logits,
        labels,
        row_stride,
        column_stride,
        num_rows,
        num_columns,
        first,
        tl.load(largest + rows, mask=rows < num_rows, other=0.0),
        tl.load(total + rows, mask=rows < num_rows, other=1.0),
        stored,
        rows,
        COLUMNS,
    )


@triton.jit
def _losses_and_gradient_kernel(
    logits,
    labels,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    first,
    low,
    high,
    losses,
    stored,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    largest, total, label_logit = _row_statistics(
        logits,
        labels,
        row_stride,
        column_stride,
        num_rows,
        num_columns,
        first,
        low,
        high,
        rows,
        ROWS,
        COLUMNS,
    )
    tl.store(losses + rows, tl.log(total) + (largest - label_logit), mask=rows < num_rows)
    _replace_by_gradient(
        logits,
        labels,
        row_stride,
        column_stride,
        num_rows,
        num_columns,
        first,
        largest,
        total,
        stored,
        rows,
        COLUMNS,
    )


@triton.jit
def _scale_kernel(
    gradient,
    row_stride,
    column_stride,
    num_rows,
    num_columns,
    factors,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    factor = tl.load(factors + rows, mask=rows < num_rows, other=0.0)
    for start in range(0, num_columns, COLUMNS):
        addresses, here, _ = _addresses(
            gradient, row_stride, column_stride, num_rows, num_columns, rows, start, COLUMNS
        )
        values = tl.load(addresses, mask=here, other=0.0).to(tl.float32) * factor[:, None]
        tl.store(addresses, values.to(gradient.dtype.element_ty), mask=here)
