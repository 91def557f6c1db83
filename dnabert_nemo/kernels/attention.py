"""Attention within the segments of a packed row, by kernels that agree; none keeps [T, T] of anything.

T packed tokens, Q of them that ask (all of them, or those whose output is read), N heads, D head size, S
segments. `Spans` says which queries see which keys; `attend` does it with the kernel that was chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F

from dnabert_nemo.kernels.attention_blocks import attend_in_blocks


@dataclass(frozen=True)
class Spans:
    """Which queries see which keys: those of the same segment.

    Segment s has of_queries[s] queries and of_keys[s] keys, all in order; a segment may have no query.
    """

    of_queries: tuple[int, ...]
    of_keys: tuple[int, ...]
    device: torch.device

    @cached_property
    def query_ends(self) -> torch.Tensor:
        """0 and where each segment's queries end: int32 [S + 1], made once for all layers."""
        return self._ends(self.of_queries)

    @cached_property
    def key_ends(self) -> torch.Tensor:
        """0 and where each segment's keys end: int32 [S + 1]."""
        return self.query_ends if self.of_keys is self.of_queries else self._ends(self.of_keys)

    def _ends(self, lengths: tuple[int, ...]) -> torch.Tensor:
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        if self.device.type == "cuda":  # from pinned memory the host need not wait for the copy
            return ends.pin_memory().to(self.device, non_blocking=True)
        return ends


def attend(
    kernel: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, dropout: float
) -> torch.Tensor:
    """Attend within each segment: softmax(q k^T / sqrt(D)) v, with dropout on the probabilities.

    Args:
        kernel: segments, blocks, flash or efficient, as in `choose.Kernels`.
        query: [Q, N, D].
        key, value: [T, N, D].

    Returns:
        [Q, N, D].
    """
    if query.shape[0] == 0:  # nothing, yet of keys and values, whose weights are owed a gradient of zeros
        return query + key[:0] + value[:0]
    return _KERNELS[kernel](query, key, value, spans, dropout)


def _by_segment(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, dropout: float
) -> torch.Tensor:
    """torch's scaled_dot_product_attention, one segment at a time: on any device."""
    # split, not slices: the backward of a split is one concatenation, that of n slices n zero-filled copies
    queries = torch.split(query.transpose(0, 1), list(spans.of_queries), dim=1)
    of_keys = list(spans.of_keys)
    keys, values = (torch.split(x.transpose(0, 1), of_keys, dim=1) for x in (key, value))
    attended = [
        F.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout)[0]
        for q, k, v in zip(queries, keys, values, strict=True)
        if q.shape[1]
    ]
    return torch.cat(attended, dim=1).transpose(0, 1)


def _in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, dropout: float
) -> torch.Tensor:
    """On a CPU: blocks with dropout of our own; where there is none torch's kernel is the faster."""
    if dropout == 0:
        return _by_segment(query, key, value, spans, dropout)
    return attend_in_blocks(query, key, value, spans.of_queries, spans.of_keys, dropout)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, dropout: float
) -> torch.Tensor:
    """torch's variable-length flash attention (CUDA, 16 bit, Ampere and later).

    torch.nn.attention.varlen.varlen_attn is the public name of this operator, without dropout.
    """
    attended, *_ = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        spans.query_ends,
        spans.key_ends,
        max(spans.of_queries),
        max(spans.of_keys),
        dropout,
        False,
        False,
    )
    return attended  # type: ignore[no-any-return]


_NO_MASK = 0  # the operator's code for one that is neither causal nor anything else


def _efficient(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, dropout: float
) -> torch.Tensor:
    """torch's memory-efficient attention (CUDA, any type, Volta and later), by cumulative lengths."""
    attended, *_ = torch.ops.aten._efficient_attention_forward(
        query[None],
        key[None],
        value[None],
        None,
        spans.query_ends,
        spans.key_ends,
        max(spans.of_queries),
        max(spans.of_keys),
        dropout,
        _NO_MASK,
        True,
    )
    return attended[0]  # type: ignore[no-any-return]


_Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Spans, float], torch.Tensor]
_KERNELS: dict[str, _Attend] = {
    "segments": _by_segment,
    "blocks": _in_blocks,
    "flash": _flash,
    "efficient": _efficient,
}
