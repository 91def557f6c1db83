"""Attention with dropout on a CPU, block by block: scores of a block live in cache, and none is kept.

The backward pass computes them again and draws the same bits again (Dao et al. 2022, arXiv:2205.14135, with
whole softmax rows instead of running ones, as all keys of a segment are at hand). torch's own attention on a
CPU keeps [N, L, L] numbers three times over where there is dropout, and draws a number for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from dnabert_nemo.kernels.dropout import bits, kept, seed

_SCORES = 1 << 19


def attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    of_queries: Sequence[int],
    of_keys: Sequence[int],
    dropout: float,
) -> torch.Tensor:
    """Attend within each segment, in fp32.

    Args:
        query: [Q, N, D]; key, value: [T, N, D], on the CPU.
        of_queries, of_keys: of each segment; they add up to Q and T.
        dropout: in (0, 1), of the probabilities.

    Returns:
        [Q, N, D].
    """
    return _Blocks.apply(query, key, value, tuple(of_queries), tuple(of_keys), dropout, seed())  # type: ignore[no-any-return,no-untyped-call]


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        of_queries: tuple[int, ...],
        of_keys: tuple[int, ...],
        dropout: float,
        seed: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.spans, ctx.dropout, ctx.seed = (of_queries, of_keys), dropout, seed
        attended = torch.empty(query.shape, dtype=query.dtype)
        for block in _blocks(query, key, value, ctx.spans, dropout, seed):
            attended[block.queries] = (block.dropped @ block.value).mul_(block.factor).transpose(0, 1)
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros(x.shape) for x in (query, key, value))
        scale = 1 / math.sqrt(query.shape[-1])
        for block in _blocks(query, key, value, ctx.spans, ctx.dropout, ctx.seed):
            here = gradients[0][block.queries].transpose(0, 1).float() * block.factor  # [N, q, D]
            of_value[block.keys].transpose(0, 1).add_(block.dropped.transpose(1, 2) @ here)
            of_probability = (here @ block.value.transpose(1, 2)).mul_(block.keep)
            of_score = torch._softmax_backward_data(of_probability, block.probability, -1, torch.float32)
            of_query[block.queries] = (of_score @ block.key).mul_(scale).transpose(0, 1)
            of_key[block.keys].transpose(0, 1).add_(of_score.transpose(1, 2) @ block.query)
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype), *[None] * 4


class _Block(NamedTuple):
    """Some queries of a segment and its keys, in fp32, and what attention makes of them."""

    queries: slice  # of Q
    keys: slice  # of T
    query: torch.Tensor  # [N, q, D], over sqrt(D)
    key: torch.Tensor  # [N, k, D]
    value: torch.Tensor  # [N, k, D]
    probability: torch.Tensor  # [N, q, k], before dropout
    keep: torch.Tensor  # [N, q, k], 1 where kept and 0
    factor: float  # of what is kept
    dropped: torch.Tensor  # [N, q, k], where kept, not yet scaled up


def _blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: tuple[tuple[int, ...], tuple[int, ...]],
    dropout: float,
    seed: int,
) -> Iterator[_Block]:
    """Go through the blocks in order, so that the bits drawn for one are the same each time."""
    stream = bits(seed)
    first_query = first_key = 0
    for num_queries, num_keys in zip(*spans, strict=True):
        keys = slice(first_key, first_key + num_keys)
        k, v = (x[keys].transpose(0, 1).float() for x in (key, value))
        at_once = max(1, _SCORES // (num_keys * query.shape[1]))
        for first in range(first_query, first_query + num_queries, at_once):
            queries = slice(first, min(first + at_once, first_query + num_queries))
            q = query[queries].transpose(0, 1).float() * (1 / math.sqrt(query.shape[-1]))
            probability = torch.softmax(q @ k.transpose(1, 2), -1)
            keep, factor = kept(probability.shape, dropout, stream)
            yield _Block(queries, keys, q, k, v, probability, keep, factor, probability * keep)
        first_query, first_key = first_query + num_queries, keys.stop
