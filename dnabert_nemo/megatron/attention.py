"""Self-attention over packed segments: a token sees the tokens of its own segment and no other.

`PackedSelfAttention` takes the place of megatron-core's core attention in the layer spec, between its QKV
and output projections. T packed tokens, M of them that are read, C context-parallel ranks, N heads of this
rank, D head size, H hidden.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state, tensor_parallel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule

from dnabert_nemo.kernels.attention import Spans, attend
from dnabert_nemo.megatron.lora import whole_weight
from dnabert_nemo.megatron.shape import BertConfig


@dataclass
class Segments(PackedSeqParams):
    """Megatron's packed-sequence parameters, with the lengths on the host where a split needs them.

    A context-parallel rank asks for tokens of its own, of all segments or of some, and part of the first and
    last of these: `spans` has the queries here and the keys of their segments, which begin at `first_key`.
    In a last layer that computes only what is read, `read` [M] are the tokens that ask, `read_spans` theirs.
    """

    spans: Spans = field(default_factory=lambda: Spans((), (), torch.device("cpu")))
    first_key: int = 0
    read: torch.Tensor | None = None
    read_spans: Spans | None = None

    def __post_init__(self) -> None:
        if self.spans.device.type == "cuda":  # what Transformer Engine's attention goes by
            self.cu_seqlens_q, self.cu_seqlens_kv = self.spans.query_ends, self.spans.key_ends
            self.max_seqlen_q, self.max_seqlen_kv = max(self.spans.of_queries), max(self.spans.of_keys)

    def of_read(self) -> Segments:
        """Return the segments as they are for the tokens that are read alone."""
        assert self.read_spans is not None
        return replace(self, spans=self.read_spans)


def segments(
    lengths: tuple[int, ...],
    first: int = 0,
    count: int | None = None,
    *,
    device: torch.device | None = None,
    read: torch.Tensor | None = None,
    read_lengths: tuple[int, ...] = (),
) -> Segments:
    """Describe a packed row of segments of these lengths, of which `count` tokens from `first` are here.

    Args:
        device: that the row is on.
        read: int64 [M], ascending: the tokens that the last layer is asked for; None: all.
        read_lengths: how many of these are in each segment.
    """
    device = device or torch.device("cpu")
    if count is None:
        of_read = None if read is None else Spans(read_lengths, lengths, device)
        return Segments(
            qkv_format="thd", spans=Spans(lengths, lengths, device), read=read, read_spans=of_read
        )
    ends = list(accumulate(lengths))
    here = [
        min(end, first + count) - max(end - length, first) for end, length in zip(ends, lengths, strict=True)
    ]
    before = next(number for number, tokens in enumerate(here) if tokens > 0)
    own = tuple(tokens for tokens in here if tokens > 0)
    spans = Spans(own, lengths[before : before + len(own)], device)
    return Segments(qkv_format="thd", spans=spans, first_key=sum(lengths[:before]))


class PackedSelfAttention(MegatronModule):  # type: ignore[misc]
    """Scaled dot-product attention within segments, by the kernel of the config: no [T, T] ever exists."""

    def __init__(
        self,
        config: BertConfig,
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
            query: [T, N, D], or of the tokens that ask; under context parallelism this rank's [T / C, N, D].
            key, value: [T, N, D], or [T / C, N, D].
            packed_seq_params: the segments.

        Returns:
            As many rows as `query`, [., N * D].
        """
        assert packed_seq_params is not None
        here = packed_seq_params
        if self.config.context_parallel_size > 1:
            key, value = _of_all_context_ranks(key), _of_all_context_ranks(value)
            seen = here.first_key, sum(here.spans.of_keys)
            key, value = key.narrow(0, *seen), value.narrow(0, *seen)
        dropout = self.dropout if self.training else 0.0
        with self._own_random_numbers(dropout):
            attended = attend(self.config.kernels.attention, query, key, value, here.spans, dropout)
        return attended.flatten(1)

    def _own_random_numbers(self, dropout: float) -> Any:
        """Heads differ by tensor rank, so must their dropout; sequence parallelism has forked already."""
        if dropout == 0.0 or self.config.sequence_parallel:
            return nullcontext()
        return tensor_parallel.get_cuda_rng_tracker().fork()


class ReadingAttention(SelfAttention):  # type: ignore[misc]
    """Attention of a last layer: keys and values of every token, queries of those that are read.

    Its parameters are megatron-core's own, in which the rows of a head are its query, key and value.
    """

    def forward(
        self, hidden_states: torch.Tensor, *, packed_seq_params: Segments, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the projected attention [M, 1, H] of the tokens `packed_seq_params.read`, and its bias."""
        heads, size = self.num_attention_heads_per_partition, self.hidden_size_per_attention_head
        hidden = tensor_parallel.copy_to_tensor_model_parallel_region(hidden_states)[:, 0]
        weight = whole_weight(self.linear_qkv).view(heads, 3, size, -1)
        bias = self.linear_qkv.bias.view(heads, 3, size)
        query = F.linear(
            hidden.index_select(0, packed_seq_params.read), weight[:, 0].flatten(0, 1), bias[:, 0].flatten()
        ).view(-1, heads, size)
        key, value = (
            F.linear(hidden, weight[:, 1:].flatten(0, 2), bias[:, 1:].flatten())
            .view(-1, heads, 2 * size)
            .split(size, dim=-1)
        )
        context = attention_of(self, query, key, value, packed_seq_params.of_read())
        return self.linear_proj(context[:, None])


def attention_of(
    layer: SelfAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, here: Segments
) -> torch.Tensor:
    """Return the attention [., N * D] of queries [., N, D], keys and values [T, N, D], by a layer's kernel.

    It is computed again in the backward pass where the config says so.
    """

    def attended(*tensors: torch.Tensor) -> torch.Tensor:
        return layer.core_attention(*tensors, None, packed_seq_params=here)

    if layer.checkpoint_core_attention and layer.training:
        return tensor_parallel.checkpoint(attended, False, query, key, value)
    return attended(query, key, value)


def _of_all_context_ranks(x: torch.Tensor) -> torch.Tensor:
    """Gather keys or values [T / C, N, D] to [T, N, D]; its backward adds up what all ranks made of them."""
    group = parallel_state.get_context_parallel_group()
    return tensor_parallel.gather_from_sequence_parallel_region(x.contiguous(), group=group)
