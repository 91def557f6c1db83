"""Self-attention over packed segments: a token sees the tokens of its own segment and no other.

Takes the place of megatron-core's core attention in the layer spec, between its QKV and output projections.
T packed tokens, N heads of this rank, D head size.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import tensor_parallel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig


@dataclass
class Segments(PackedSeqParams):
    """Megatron's packed-sequence parameters, with the lengths on the host where a split needs them."""

    lengths: tuple[int, ...] = field(default=())


def segments(lengths: tuple[int, ...]) -> Segments:
    """Describe a packed row whose segments have these lengths, in order."""
    return Segments(qkv_format="thd", lengths=lengths)


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
            query, key, value: [T, N, D].
            packed_seq_params: the segments; their lengths add up to T.

        Returns:
            [T, N * D].
        """
        assert packed_seq_params is not None
        dropout = self.dropout if self.training else 0.0
        # split, not slices: the backward of a split is one concatenation, that of n slices n zero-filled
        # copies
        parts = [x.transpose(0, 1).split(packed_seq_params.lengths, dim=1) for x in (query, key, value)]
        with self._own_random_numbers(dropout):
            attended = [
                F.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout)[0]
                for q, k, v in zip(*parts, strict=True)
            ]
        return torch.cat(attended, dim=1).transpose(0, 1).reshape(query.shape[0], -1)

    def _own_random_numbers(self, dropout: float) -> Any:
        """Heads differ by tensor rank, so must their dropout; sequence parallelism has forked already."""
        if dropout == 0.0 or self.config.sequence_parallel:
            return nullcontext()
        return tensor_parallel.get_cuda_rng_tracker().fork()
