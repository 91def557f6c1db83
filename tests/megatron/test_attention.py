"""Attention over packed segments, held against each segment alone and against one dense masked softmax."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from megatron.core.transformer.enums import AttnMaskType

from dnabert_nemo.megatron.attention import PackedSelfAttention, segments
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

NUM_HEADS, HEAD_SIZE = 4, 8


@pytest.fixture
def attention(small_shape) -> PackedSelfAttention:
    config = transformer_config(small_shape(), ParallelSizes(), "fp32")
    return PackedSelfAttention(config, 1, AttnMaskType.padding, "self")


def random_qkv(num_tokens: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(num_tokens, NUM_HEADS, HEAD_SIZE, generator=generator).requires_grad_() for _ in range(3)
    ]


def attend(attention: PackedSelfAttention, qkv: list[torch.Tensor], lengths: tuple[int, ...]) -> torch.Tensor:
    return attention(*qkv, None, packed_seq_params=segments(lengths))


def dense(qkv: list[torch.Tensor], lengths: tuple[int, ...]) -> torch.Tensor:
    """Attend over all T x T pairs, then mask those of different segments."""
    query, key, value = (x.transpose(0, 1) for x in qkv)  # [N, T, D]
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    scores = query @ key.transpose(1, 2) / math.sqrt(HEAD_SIZE)
    scores = scores.masked_fill(segment[:, None] != segment, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple), seed=st.integers(0, 99))
def test_equals_dense_masked_attention_and_its_gradient(attention, lengths, seed) -> None:
    qkv = random_qkv(sum(lengths), seed)
    weight = torch.randn(sum(lengths), NUM_HEADS * HEAD_SIZE, generator=torch.Generator().manual_seed(seed))
    packed, expected = attend(attention, qkv, lengths), dense(qkv, lengths)
    torch.testing.assert_close(packed, expected, rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad((packed * weight).sum(), qkv)
    torch.testing.assert_close(
        gradients, torch.autograd.grad((expected * weight).sum(), qkv), rtol=1e-4, atol=1e-6
    )


def test_each_segment_is_as_if_alone(attention) -> None:
    lengths = (7, 1, 23, 12)
    qkv = random_qkv(sum(lengths), 5)
    alone = [
        attend(attention, list(part), (length,))
        for length, part in zip(lengths, zip(*(x.split(lengths) for x in qkv), strict=True), strict=True)
    ]
    torch.testing.assert_close(attend(attention, qkv, lengths), torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_dropout_is_for_training_and_draws_from_the_tracker(attention) -> None:
    attention.dropout = 0.5
    qkv, lengths = random_qkv(20, 6), (8, 12)
    before = torch.get_rng_state()
    first, second = attend(attention.train(), qkv, lengths), attend(attention, qkv, lengths)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)  # tensor-parallel peers keep this generator in step
    torch.testing.assert_close(attend(attention.eval(), qkv, lengths), dense(qkv, lengths))


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8).map(tuple),
    ranks=st.integers(1, 5),
)
def test_the_parts_of_a_row_are_of_the_segments_they_lie_in(lengths: tuple[int, ...], ranks: int) -> None:
    lengths += ((-sum(lengths)) % ranks,) if sum(lengths) % ranks else ()
    of_token = [segment for segment, length in enumerate(lengths) for _ in range(length)]
    count = len(of_token) // ranks
    for first in range(0, len(of_token), count):
        here = segments(lengths, first, count)
        seen = of_token[first : first + count]
        assert here.first_key == sum(lengths[: seen[0]])
        assert here.spans.of_keys == lengths[seen[0] : seen[-1] + 1]
        assert here.spans.of_queries == tuple(seen.count(segment) for segment in range(seen[0], seen[-1] + 1))
