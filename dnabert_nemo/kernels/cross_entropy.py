"""Cross-entropy at the masked places, over a vocabulary that tensor ranks share; its gradient in place.

M masked rows, V vocabulary, R tensor ranks. The logits are the largest tensor of a step and nobody reads
them after the loss, so the gradient takes their room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

Statistics = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Columns(NamedTuple):
    """The columns a rank holds, first .. first + V / R, and the labels that some rank holds, low .. high."""

    first: int
    low: int
    high: int


class Parts(NamedTuple):
    """What is computed on a rank, around the all-reduces.

    The gradient is written as (softmax - onehot) * stored, 0 at minus infinity.
    """

    # (logits, labels, columns) -> the largest logit [M], the sum of exp(logit - largest) [M], and the label's
    # logit [M]: 0 where another rank holds it, nan where none does
    statistics: Callable[[torch.Tensor, torch.Tensor, Columns], Statistics]
    # (logits, labels, first, largest, total, stored): over all ranks
    write_gradient: Callable[[torch.Tensor, torch.Tensor, int, torch.Tensor, torch.Tensor, float], None]
    # (logits, labels, columns, stored) -> losses [M]; both of the above where one rank holds all columns
    losses_and_gradient: Callable[[torch.Tensor, torch.Tensor, Columns, float], torch.Tensor]
    # (gradient, factors [M]): in place
    scale_rows: Callable[[torch.Tensor, torch.Tensor], None]


def masked_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, first: int, group: dist.ProcessGroup | None
) -> torch.Tensor:
    """Return the losses [M] in fp32, by Triton, and leave the gradient in `logits` where one is wanted.

    A label outside the vocabulary has a loss of nan. Without gradients (under no_grad) the logits stay.

    Args:
        logits: [M, V / R], this rank's columns; fp32, bf16 or fp16. A minus infinity has gradient 0.
        labels: int64 [M], columns of the whole vocabulary.
        first: this rank's first column.
        group: the ranks that hold equal parts of the vocabulary, in order; None where this one holds all.

    Raises:
        ConfigError: the tensors are not on a GPU and Triton does not interpret its kernels.
        ValueError: shapes or types that do not fit, or logits that are a leaf of autograd's graph.
        RuntimeError: a second backward pass, or another reader of the logits in the first one.
    """
    from dnabert_nemo.kernels.triton_cross_entropy import PARTS

    return _losses(logits, labels, first, group, PARTS)


def torch_masked_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, first: int, group: dist.ProcessGroup | None
) -> torch.Tensor:
    """Return what `masked_cross_entropy` returns, with the same terms, by plain torch."""
    return _losses(logits, labels, first, group, _TORCH)


def _losses(
    logits: torch.Tensor, labels: torch.Tensor, first: int, group: dist.ProcessGroup | None, parts: Parts
) -> torch.Tensor:
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"logits {tuple(logits.shape)} want int64 labels of as many rows, not {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    wants_gradient = torch.is_grad_enabled() and logits.requires_grad
    if wants_gradient and logits.is_leaf:
        raise ValueError("the logits are a leaf: their gradient would be written over them; pass a clone")
    strides = zip(logits.stride(), logits.shape, strict=True)
    if wants_gradient and any(stride == 0 and size > 1 for stride, size in strides):
        raise ValueError("the logits are expanded: several of them share one place for their gradients")
    labels = labels.contiguous()
    losses: torch.Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        logits, labels, first, group, parts, wants_gradient
    )
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        labels: torch.Tensor,
        first: int,
        group: dist.ProcessGroup | None,
        parts: Parts,
        wants_gradient: bool,
    ) -> torch.Tensor:
        num_ranks = 1 if group is None else dist.get_world_size(group)
        num_columns = logits.shape[1]
        # fp16 loses what is below 6e-8, which loss scaling, coming after, could not bring back
        stored = 2.0**15 if logits.dtype == torch.float16 else 1.0
        if num_ranks == 1:
            columns = Columns(first, first, first + num_columns)
            if wants_gradient:
                losses = parts.losses_and_gradient(logits, labels, columns, stored)
            else:
                largest, total, label_logit = parts.statistics(logits, labels, columns)
                losses = total.log() + (largest - label_logit)
        else:
            columns = Columns(first, 0, num_ranks * num_columns)
            own_largest, own_total, label_logit = parts.statistics(logits, labels, columns)
            largest = own_largest.clone()
            dist.all_reduce(largest, dist.ReduceOp.MAX, group)
            sums = torch.stack([own_total * (own_largest - largest).exp(), label_logit])
            dist.all_reduce(sums, dist.ReduceOp.SUM, group)
            total, label_logit = sums
            losses = total.log() + (largest - label_logit)
            if wants_gradient:
                parts.write_gradient(logits, labels, first, largest, total, stored)
        if wants_gradient:
            torch.autograd.graph.increment_version(logits)  # who saved the logits themselves hears of it
            ctx.save_for_backward(logits)
            ctx.parts, ctx.stored, ctx.is_used = parts, stored, False
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_losses: torch.Tensor) -> tuple[Any, ...]:
        if ctx.is_used:
            raise RuntimeError("the gradient of these logits was handed on already, and scaled in place")
        gradient = ctx.saved_tensors[0].detach()
        ctx.is_used = True
        ctx.parts.scale_rows(gradient, d_losses / ctx.stored)
        return gradient, None, None, None, None, None


def _torch_statistics(logits: torch.Tensor, labels: torch.Tensor, columns: Columns) -> Statistics:
    values = _wide(logits)
    largest = values.amax(1)
    total = (values - largest.clamp(min=torch.finfo(values.dtype).min)[:, None]).exp().sum(1)
    at, is_here = _labels_here(labels, columns.first, logits.shape[1])
    label_logit = values.gather(1, at[:, None])[:, 0].masked_fill(~is_here, 0.0)
    is_label = (labels >= columns.low) & (labels < columns.high)
    return largest, total, label_logit.masked_fill(~is_label, float("nan"))


def _torch_write_gradient(
    logits: torch.Tensor,
    labels: torch.Tensor,
    first: int,
    largest: torch.Tensor,
    total: torch.Tensor,
    stored: float,
) -> None:
    values = _wide(logits)
    at, is_here = _labels_here(labels, first, logits.shape[1])
    is_here &= values.gather(1, at[:, None])[:, 0] != float("-inf")
    gradient = (values - largest[:, None]).exp_().div_(total[:, None])
    gradient.scatter_add_(1, at[:, None], -is_here.to(gradient.dtype)[:, None])
    logits.detach().copy_(gradient.mul_(stored))


def _torch_losses_and_gradient(
    logits: torch.Tensor, labels: torch.Tensor, columns: Columns, stored: float
) -> torch.Tensor:
    largest, total, label_logit = _torch_statistics(logits, labels, columns)
    _torch_write_gradient(logits, labels, columns.first, largest, total, stored)
    return total.log() + (largest - label_logit)


def _torch_scale_rows(gradient: torch.Tensor, factors: torch.Tensor) -> None:
    gradient.mul_(factors[:, None])


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits.detach().to(torch.promote_types(logits.dtype, torch.float32))


def _labels_here(labels: torch.Tensor, first: int, num_columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the labels as columns of this rank, 0 for those it does not hold, and which it holds."""
    at = labels - first
    is_here = (at >= 0) & (at < num_columns)
    return at.masked_fill(~is_here, 0), is_here


_TORCH = Parts(_torch_statistics, _torch_write_gradient, _torch_losses_and_gradient, _torch_scale_rows)
