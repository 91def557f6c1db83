"""Labelled sequences in steps: who is in which step and on which rank, and what a batch of them looks
like.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.labelled import (
    LabelledDataModule,
    LabelledSequences,
    LabelledStep,
    LabelledSteps,
    SampleShape,
)
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import decode, encode
from dnabert_nemo.kmer.ids import bases_of, kmer_ids
from dnabert_nemo.kmer.vocabulary import CLS, PAD, SEP

K, MAX_POSITIONS = 3, 24


def sequences(count: int, num_bases: int = 20) -> list[str]:
    rng = np.random.Generator(np.random.Philox(2))
    return [decode(rng.integers(4, size=num_bases).astype(np.uint8)) for _ in range(count)]


def dataset(count: int) -> LabelledSequences:
    """A dataset whose labels are the numbers of its samples, so that a batch says who is in it."""
    return LabelledSequences(sequences(count), range(count), k=K, max_positions=MAX_POSITIONS)


def samples(step: LabelledStep) -> list[int]:
    return [label for batch in step.micro_batches for label in batch.labels.tolist()]


def steps(count: int, shape: SampleShape, seed: int | None, **where: int) -> LabelledSteps:
    return LabelledSteps(dataset(count), shape, seed=seed, **where)


def test_every_epoch_has_every_sample_once_in_a_new_order() -> None:
    found = list(islice(steps(10, SampleShape(4, 2), seed=5), 9))
    assert [len(samples(step)) for step in found] == [4, 4, 2] * 3
    assert [step.consumed_samples for step in found] == [4, 8, 10, 14, 18, 20, 24, 28, 30]
    epochs = [[label for step in found[at : at + 3] for label in samples(step)] for at in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert len({tuple(epoch) for epoch in epochs} | {tuple(range(10))}) == 4


def test_the_order_is_the_seeds_alone() -> None:
    def first(seed: int) -> list[int]:
        return samples(next(iter(steps(50, SampleShape(50, 5), seed))))

    once = first(1)
    torch.manual_seed(4)
    state = torch.get_rng_state()
    assert first(1) == once
    assert first(2) != once
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 40),
    num_ranks=st.sampled_from([1, 2, 4]),
    micro=st.integers(1, 3),
    num_micro=st.integers(1, 3),
    consumed=st.integers(0, 90),
)
def test_ranks_share_the_one_rank_step(
    count: int, num_ranks: int, micro: int, num_micro: int, consumed: int
) -> None:
    shape = SampleShape(num_ranks * micro * num_micro, micro)
    whole = islice(steps(count, shape, 9, consumed_samples=consumed), 3)
    parts = [
        islice(
            steps(
                count,
                shape,
                9,
                consumed_samples=consumed,
                data_parallel_rank=rank,
                data_parallel_size=num_ranks,
            ),
            3,
        )
        for rank in range(num_ranks)
    ]
    for step, *shares in zip(whole, *parts, strict=True):
        assert [label for share in shares for label in samples(share)] == samples(step)
        assert {share.consumed_samples for share in shares} == {step.consumed_samples}
        assert {len(share.micro_batches) for share in shares} == {num_micro}
        ids = torch.cat([batch.ids for share in shares for batch in share.micro_batches])
        assert torch.equal(ids, torch.cat([batch.ids for batch in step.micro_batches]))


def test_a_run_goes_on_from_its_count() -> None:
    shape = SampleShape(4, 2)
    whole = list(islice(steps(10, shape, seed=5), 9))
    for number in (0, 2, 4):  # inside an epoch, and at its end
        resumed = steps(10, shape, seed=5, consumed_samples=whole[number].consumed_samples)
        for step, expected in zip(resumed, whole[number + 1 :], strict=False):
            assert samples(step) == samples(expected)
            assert step.consumed_samples == expected.consumed_samples
            if expected is whole[-1]:
                break


def test_without_a_seed_the_samples_come_once_and_in_order() -> None:
    assert [samples(step) for step in steps(7, SampleShape(4, 2), seed=None)] == [[0, 1, 2, 3], [4, 5, 6]]


def test_a_batch_lays_its_samples_end_to_end() -> None:
    given = ["ACGTACG", "TTTTTTTTTTTT", "GAT"]
    data = LabelledSequences(given, [2, 0, 1], k=K, max_positions=MAX_POSITIONS)
    batch = data.batch(np.array([1, 2, 0]), 3)
    assert data.room == 16  # of the longest, 12 tokens
    assert batch.ids.shape == batch.positions.shape == (3 * data.room,)
    assert batch.labels.tolist() == [0, 1, 2]
    assert batch.segment_lengths[:3] == (12, 3, 7)
    assert sum(batch.segment_lengths) == 3 * data.room
    assert max(batch.segment_lengths) <= data.room
    ids, positions = batch.ids.split(batch.segment_lengths), batch.positions.split(batch.segment_lengths)
    for segment, text in zip(ids, [given[1], given[2], given[0]], strict=False):
        assert segment[0] == CLS
        assert segment[-1] == SEP
        assert decode(bases_of(segment[1:-1].numpy(), K)) == text
    assert all(segment.eq(PAD).all() for segment in ids[3:])
    assert all(torch.equal(place, torch.arange(len(place))) for place in positions)


def test_a_batch_of_its_own_size_pads_no_further_than_the_next_multiple() -> None:
    given = ["ACGTACG", "TTTTTTTTTTTT", "GAT"]  # 7, 12 and 3 tokens
    whole, own = (
        LabelledSequences(
            given, [2, 0, 1], k=K, max_positions=MAX_POSITIONS, multiple_of=8, one_size=one_size
        )
        for one_size in (True, False)
    )
    for order, tokens in (([1, 2, 0], 24), ([1, 2], 16), ([2], 8), ([], 8)):
        padded, tight = (data.batch(np.array(order, dtype=np.int64), 3) for data in (whole, own))
        assert tight.ids.numel() == tight.positions.numel() == sum(tight.segment_lengths) == tokens
        assert padded.ids.numel() == 48
        assert torch.equal(padded.ids[:tokens], tight.ids)
        assert padded.ids[tokens:].eq(PAD).all()
        assert torch.equal(padded.pooled_at, tight.pooled_at)
        assert padded.pooled_lengths == tight.pooled_lengths


def test_a_step_counts_the_tokens_of_all_ranks_without_padding() -> None:
    data = LabelledSequences(["ACGTACG", "TTTTTTTTTTTT", "GAT"], [2, 0, 1], k=K, max_positions=MAX_POSITIONS)
    for rank in (0, 1):
        made = LabelledSteps(
            data, SampleShape(4, 2), seed=None, data_parallel_rank=rank, data_parallel_size=2
        )
        assert [step.num_tokens for step in made] == [22]
    data.features = torch.zeros(3, 4)
    assert [step.num_tokens for step in LabelledSteps(data, SampleShape(4, 4), seed=None)] == [0]


@pytest.mark.parametrize("k", [1, 3, 4, 6])
def test_the_pooled_token_lies_over_the_centre(k: int) -> None:
    text = sequences(1, num_bases=60)[0]
    data = LabelledSequences([text, text], [0, 0], k=k, max_positions=64)
    batch = data.batch(np.array([0, 1]), 2)
    kmers = kmer_ids(encode(text), k)
    for pooled, start in zip(batch.pooled_at.tolist(), (0, batch.segment_lengths[0]), strict=True):
        first = pooled - start - 1  # the token's first base in the sequence
        assert batch.ids[pooled] == kmers[first]
        centre = first + (k - 1) / 2
        assert abs(centre - (60 - 1) / 2) <= 0.5
        if k > 1:
            assert first <= 29 < 30 < first + k  # the two bases in the middle, where a splice site stands


@pytest.mark.parametrize(
    ("pooling", "places"), [("centre", [3, 12]), ("cls", [0, 7]), ("mean", [1, 2, 3, 4, 5, *range(8, 16)])]
)
def test_what_is_pooled_is_one_token_or_all_k_mers(pooling: str, places: list[int]) -> None:
    data = LabelledSequences(["ACGTACG", "ACGTACGTAC"], [0, 1], k=3, max_positions=32, pooling=pooling)
    batch = data.batch(np.array([0, 1]), 3)
    assert batch.pooled_at.tolist() == batch.read_at.tolist() == places
    counts = (5, 8) if pooling == "mean" else (1, 1)
    assert batch.pooled_lengths == counts
    assert batch.read_lengths[:2] == counts and not any(batch.read_lengths[2:])
    assert len(batch.read_lengths) == len(batch.segment_lengths)


def test_short_sequences_take_room_of_their_own_length() -> None:
    given = [
        LabelledSequences(["A" * 71], [0], k=3, max_positions=512, multiple_of=m).room for m in (1, 16, 24)
    ]
    assert given == [71, 80, 72]


def test_a_sequence_without_a_k_mer_is_refused() -> None:
    with pytest.raises(ConfigError, match="fewer than the 6 bases of a k-mer"):
        LabelledSequences(["ACGTACG", "ACGTA"], [0, 1], k=6, max_positions=32)


def test_a_batch_with_too_few_samples_is_padding_to_its_end() -> None:
    data = dataset(3)
    full, empty = data.batch(np.array([0, 1, 2]), 3), data.batch(np.array([], dtype=np.int64), 3)
    assert empty.ids.shape == full.ids.shape
    assert empty.ids.eq(PAD).all()
    assert empty.segment_lengths == (MAX_POSITIONS,) * 3
    assert len(empty.labels) == len(empty.pooled_at) == 0


def test_a_sequence_too_long_for_the_model_is_refused() -> None:
    fits = "A" * (MAX_POSITIONS - 2 + K - 1)
    LabelledSequences([fits], [0], k=K, max_positions=MAX_POSITIONS)
    with pytest.raises(ConfigError, match=r"takes 25 tokens and model\.max_position_embeddings=24"):
        LabelledSequences(["ACG", fits + "A"], [0, 1], k=K, max_positions=MAX_POSITIONS)


@pytest.mark.parametrize(
    ("shape", "ranks", "fits"),
    [
        (SampleShape(8, 2), 4, True),
        (SampleShape(8, 2), 3, False),
        (SampleShape(8, 3), 1, False),
        (SampleShape(0, 1), 1, False),
        (SampleShape(8, 0), 1, False),
    ],
)
def test_sizes_that_do_not_divide_are_named(shape: SampleShape, ranks: int, fits: bool) -> None:
    if fits:
        shape.check(ranks)
        return
    says = (
        rf"model\.global_batch_size={shape.global_batch_size} .* "
        rf"model\.micro_batch_size={shape.micro_batch_size} x {ranks}"
    )
    with pytest.raises(ConfigError, match=says):
        shape.check(ranks)


def test_cached_features_take_the_place_of_tokens() -> None:
    train, validation = dataset(6), dataset(4)
    module = LabelledDataModule(train, validation, SampleShape(4, 2), seed=1)
    module.set_data_parallel(0, 1)
    before = [samples(step) for step in islice(module.train_dataloader(), 3)]
    seen = []

    def features_of(data: LabelledSequences) -> torch.Tensor:
        seen.append(len(data))
        return torch.arange(len(data)).float()[:, None].expand(-1, 5)

    whitening = module.cache_features(features_of)
    assert module.cache_features(features_of) is whitening
    assert seen == [6, 4]  # each sequence once
    for step, expected in zip(module.train_dataloader(), before, strict=False):
        assert samples(step) == expected
        for batch in step.micro_batches:
            assert batch.ids.numel() == 0
            features = batch.labels.float()[:, None].expand(-1, 5)
            assert torch.equal(batch.features, whitening.apply(features))
        if expected is before[-1]:
            break


def test_the_data_module_resumes_and_validates_in_order() -> None:
    module = LabelledDataModule(dataset(6), dataset(4), SampleShape(4, 2), seed=1)
    module.set_data_parallel(0, 1)
    whole = [samples(step) for step in islice(module.train_dataloader(), 4)]
    module.set_consumed_samples(6)
    assert [samples(step) for step in islice(module.train_dataloader(), 2)] == whole[2:]
    assert [samples(step) for step in module.val_dataloader()] == [[0, 1, 2, 3]]
    with pytest.raises(ConfigError):
        module.set_data_parallel(0, 3)
