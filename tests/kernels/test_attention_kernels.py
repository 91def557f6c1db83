"""Every attention kernel of this device against a dense fp64 softmax; dropout in blocks against a replay."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from dnabert_nemo.kernels import attention_blocks
from dnabert_nemo.kernels.attention import Spans, attend
from dnabert_nemo.kernels.dropout import bits, kept
from dnabert_nemo.kernels.dropout import seed as draw_seed

NUM_HEADS, HEAD_SIZE = 2, 8
CPU = [("segments", torch.float32), ("blocks", torch.float32), ("blocks", torch.bfloat16)]
CUDA = [("efficient", torch.float32), ("efficient", torch.bfloat16), ("flash", torch.bfloat16)]
HERE = CUDA if torch.cuda.is_available() else CPU
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# (queries, keys) of each segment
LAYOUTS = {
    "all ask": ((7, 1, 23, 12), (7, 1, 23, 12)),
    "some ask": ((3, 1, 5, 2), (7, 1, 23, 12)),
    "segments without a query": ((0, 4, 0, 0, 2, 0), (5, 9, 1, 30, 2, 8)),
    "one query": ((0, 1, 0), (5, 9, 6)),
    "single tokens": ((1, 1, 1), (1, 1, 1)),
    "no query": ((0, 0), (6, 3)),
}


def qkv(of_queries, of_keys, dtype=torch.float32, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = (sum(of_queries), sum(of_keys), sum(of_keys))
    drawn = (torch.randn(length, NUM_HEADS, HEAD_SIZE, generator=generator) for length in lengths)
    return [x.to(DEVICE, dtype).requires_grad_() for x in drawn]


def dense(query, key, value, of_queries, of_keys, masks=None) -> torch.Tensor:
    """Attend over all Q x T pairs in fp64, then mask those of different segments.

    Args:
        masks: of each segment [N, q, k], what its probabilities are multiplied by.
    """
    query, key, value = (x.double().transpose(0, 1) for x in (query, key, value))
    own, other = (
        torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(DEVICE)
        for counts in (of_queries, of_keys)
    )
    scores = query @ key.transpose(1, 2) / math.sqrt(HEAD_SIZE)
    probability = scores.masked_fill(own[:, None] != other, float("-inf")).softmax(-1)
    if masks is not None:
        whole = torch.zeros_like(probability)
        starts = [0, *accumulate(of_queries)], [0, *accumulate(of_keys)]
        for mask, first, first_key in zip(masks, *starts, strict=False):
            whole[:, first : first + mask.shape[1], first_key : first_key + mask.shape[2]] = mask
        probability = probability * whole
    return (probability @ value).transpose(0, 1)


def assert_as_dense(kernel: str, dtype: torch.dtype, of_queries, of_keys, seed: int = 0) -> None:
    inputs = qkv(of_queries, of_keys, dtype, seed)
    found = attend(kernel, *inputs, Spans(tuple(of_queries), tuple(of_keys), DEVICE), 0.0)
    expected = dense(*inputs, of_queries, of_keys)
    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed + 1)).to(DEVICE, dtype)
    found_gradients = torch.autograd.grad(found, inputs, above)
    exact_gradients = torch.autograd.grad(expected, inputs, above.double())
    tolerance = {"rtol": 1e-4, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, **tolerance)
    torch.testing.assert_close(found_gradients, exact_gradients, **tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel", "dtype"), HERE)
def test_output_and_gradients_are_those_of_a_dense_softmax(kernel, dtype, layout: str) -> None:
    assert_as_dense(kernel, dtype, *LAYOUTS[layout])


@settings(max_examples=25, deadline=None)
@given(
    spans=st.lists(
        st.integers(1, 40).flatmap(lambda keys: st.tuples(st.integers(0, keys), st.just(keys))),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 99),
)
def test_any_segments_are_those_of_a_dense_softmax(spans, seed: int) -> None:
    of_queries, of_keys = zip(*spans, strict=True)
    for kernel, dtype in HERE:
        if dtype == torch.float32:
            assert_as_dense(kernel, dtype, of_queries, of_keys, seed)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("kernel", "dtype"), HERE)
def test_no_query_gives_every_input_a_gradient_of_zeros(kernel, dtype, dropout: float) -> None:
    inputs = qkv((0, 0), (6, 3), dtype)
    found = attend(kernel, *inputs, Spans((0, 0), (6, 3), DEVICE), dropout)
    assert found.shape == (0, NUM_HEADS, HEAD_SIZE)
    for x, gradient in zip(inputs, torch.autograd.grad(found.sum(), inputs), strict=True):
        assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize(("kernel", "dtype"), HERE)
def test_keys_nobody_asks_for_have_a_gradient_of_zeros(kernel, dtype) -> None:
    inputs = qkv((0, 4, 0), (5, 9, 30), dtype)
    found = attend(kernel, *inputs, Spans((0, 4, 0), (5, 9, 30), DEVICE), 0.0)
    for gradient in torch.autograd.grad(found.sum(), inputs)[1:]:
        assert gradient[:5].eq(0).all()
        assert gradient[14:].eq(0).all()
    assert gradient[5:14].ne(0).all()


def replayed(inputs: list[torch.Tensor], of_queries, of_keys, dropout: float, seed: int) -> torch.Tensor:
    """Attend densely in fp64 with the very bits that `attend_in_blocks` draws after `manual_seed(seed)`."""
    torch.manual_seed(seed)
    stream = bits(draw_seed())
    masks = []
    for num_queries, num_keys in zip(of_queries, of_keys, strict=True):
        at_once = max(1, attention_blocks._SCORES // (num_keys * NUM_HEADS))
        blocks = [min(at_once, num_queries - first) for first in range(0, num_queries, at_once)]
        drawn = [kept(torch.Size((NUM_HEADS, size, num_keys)), dropout, stream) for size in blocks]
        empty = torch.zeros(NUM_HEADS, 0, num_keys)
        masks.append(torch.cat([keep * factor for keep, factor in drawn], 1) if drawn else empty)
    return dense(*inputs, of_queries, of_keys, masks)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="blocks are a CPU's")
class TestBlocks:
    """Attention in blocks, which has dropout of its own."""

    @pytest.fixture(params=["one block", "several blocks"])
    def scores(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leave a segment in one block, or cut it: 128 scores are 2 queries of 23 keys in two heads."""
        if request.param == "several blocks":
            monkeypatch.setattr(attention_blocks, "_SCORES", 128)

    @pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "no query"])
    @pytest.mark.parametrize("p", [0.1, 0.7])
    def test_forward_and_backward_drop_the_same(self, scores, layout: str, p: float) -> None:
        of_queries, of_keys = LAYOUTS[layout]
        inputs = qkv(of_queries, of_keys)
        torch.manual_seed(11)
        found = attend("blocks", *inputs, Spans(of_queries, of_keys, DEVICE), p)
        expected = replayed(inputs, of_queries, of_keys, p, seed=11)
        above = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(
            torch.autograd.grad(found, inputs, above),
            torch.autograd.grad(expected, inputs, above.double()),
            rtol=1e-4,
            atol=2e-5,
        )
        undropped = attend("segments", *inputs, Spans(of_queries, of_keys, DEVICE), 0.0)
        assert not torch.allclose(found, undropped, atol=1e-2), "nothing was dropped"

    def test_a_segment_longer_than_a_block(self) -> None:
        """700 keys of two heads: 374 queries to a block."""
        of_queries, of_keys = (5, 700), (30, 700)
        assert of_keys[1] * of_queries[1] * NUM_HEADS > attention_blocks._SCORES
        inputs = qkv(of_queries, of_keys)
        torch.manual_seed(3)
        found = attend("blocks", *inputs, Spans(of_queries, of_keys, DEVICE), 0.2)
        expected = replayed(inputs, of_queries, of_keys, 0.2, seed=3)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-5)
        above = torch.ones_like(found)
        torch.testing.assert_close(
            torch.autograd.grad(found, inputs, above),
            torch.autograd.grad(expected, inputs, above.double()),
            rtol=1e-3,
            atol=5e-5,
        )

    def test_recomputation_draws_again_what_was_drawn(self) -> None:
        of_queries, of_keys = LAYOUTS["all ask"]
        inputs, spans = qkv(of_queries, of_keys), Spans(of_queries, of_keys, DEVICE)

        def attended(*tensors: torch.Tensor) -> torch.Tensor:
            return attend("blocks", *tensors, spans, 0.5)

        found = []
        for again in (False, True):
            torch.manual_seed(5)
            out = checkpoint(attended, *inputs, use_reentrant=False) if again else attended(*inputs)
            after = torch.get_rng_state()
            torch.manual_seed(99)  # the backward pass must not depend on where the generator stands by then
            found.append((out, after, *torch.autograd.grad(out.square().sum(), inputs)))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)

    def test_two_calls_drop_different_probabilities(self) -> None:
        of_queries, of_keys = LAYOUTS["all ask"]
        inputs, spans = qkv(of_queries, of_keys), Spans(of_queries, of_keys, DEVICE)
        torch.manual_seed(5)
        assert not torch.equal(attend("blocks", *inputs, spans, 0.5), attend("blocks", *inputs, spans, 0.5))

    def test_the_mean_over_draws_is_attention_without_dropout(self) -> None:
        of_queries, of_keys = (4, 3), (4, 9)
        inputs, spans = qkv(of_queries, of_keys), Spans(of_queries, of_keys, DEVICE)
        torch.manual_seed(8)
        with torch.no_grad():
            draws = torch.stack([attend("blocks", *inputs, spans, 0.25) for _ in range(2000)]).double()
            expected = attend("segments", *inputs, spans, 0.0).double()
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - expected).abs() <= 5 * error + 1e-6).all()
