"""Self-attention over packed segments: a token sees the tokens of its own segment and no other.

Takes the place of megatron-core's core attention in the layer spec, between its QKV and output projections.
T packed tokens, C context-parallel ranks, N heads of this rank, D head size.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state, tensor_parallel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig


@dataclass
class Segments(PackedSeqParams):
    """Megatron's packed-sequence parameters, with the lengths on the host where a split needs them.

    A context-parallel rank asks for tokens of its own, of all segments or of some, and part of the first and
    last of these: `own` has their lengths here, `others` how many segments come before and after them.
    """

    lengths: tuple[int, ...] = field(default=())
    own: tuple[int, ...] = field(default=())
    others: tuple[int, int] = field(default=(0, 0))


def segments(lengths: tuple[int, ...], first: int = 0, count: int | None = None) -> Segments:
    """Describe a packed row of segments of these lengths, of which `count` tokens from `first` are here."""
    if count is None:
        return Segments(qkv_format="thd", lengths=lengths, own=lengths)
    ends = list(accumulate(lengths))
    here = [
        min(end, first + count) - max(end - length, first) for end, length in zip(ends, lengths, strict=True)
    ]
    before = next(number for number, tokens in enumerate(here) if tokens > 0)
    own = tuple(tokens for tokens in here if tokens > 0)
    after = len(lengths) - before - len(own)
    return Segments(qkv_format="thd", lengths=lengths, own=own, others=(before, after))


class PackedSelfAttention(MegatronModule):  # type: ignore[misc]
    """Scaled dot-product attention, one segment at a time: no [T, T] score or mask ever exists."""

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        **_: Any,  # what other core attentions of megatron-core are given and this one has no use for
    ) -> None:
        super().__init__(config=config)
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params: Segments | None = None,
    ) -> torch.Tensor:
        """Attend within each segment.

        Args:
            query, key, value: [T, N, D]; under context parallelism this rank's tokens [T / C, N, D].
            packed_seq_params: the segments; their lengths add up to T.

        Returns:
            As many rows as `query`, [., N * D].
        """
        assert packed_seq_params is not None
        here, (before, after) = packed_seq_params, packed_seq_params.others
        if self.config.context_parallel_size > 1:
            key, value = _of_all_context_ranks(key), _of_all_context_ranks(value)
        dropout = self.dropout if self.training else 0.0
        # split, not slices: the backward of a split is one concatenation, that of n slices n zero-filled
        # copies
        queries = query.transpose(0, 1).split(here.own, dim=1)
        keys, values = (x.transpose(0, 1).split(here.lengths, dim=1) for x in (key, value))
        seen = slice(before, len(here.lengths) - after)
        with self._own_random_numbers(dropout):
            attended = [
                F.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout)[0]
                for q, k, v in zip(queries, keys[seen], values[seen], strict=True)
            ]
        return torch.cat(attended, dim=1).transpose(0, 1).reshape(query.shape[0], -1)

    def _own_random_numbers(self, dropout: float) -> Any:
        """Heads differ by tensor rank, so must their dropout; sequence parallelism has forked already."""
        if dropout == 0.0 or self.config.sequence_parallel:
            return nullcontext()
        return tensor_parallel.get_cuda_rng_tracker().fork()


def _of_all_context_ranks(x: torch.Tensor) -> torch.Tensor:
    """Gather keys or values [T / C, N, D] to [T, N, D]; its backward adds up what all ranks made of them."""
    group = parallel_state.get_context_parallel_group()
    return tensor_parallel.gather_from_sequence_parallel_region(x.contiguous(), group=group)
