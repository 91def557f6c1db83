"""The stream of steps: the same for any number of workers and ranks, from any step on."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from dnabert_nemo.data.batch import MicroBatch, StepBatch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.sampling import SamplingPlan, Split
from dnabert_nemo.data.steps import PackedSteps
from dnabert_nemo.kmer.masking import MaskRule

NUM_BASES = [4000, 90, 700, 2500]
SHAPE = StepShape(global_batch_size=8, micro_batch_size=2, tokens_per_row=256, max_positions=64)


@pytest.fixture
def steps(toy_shards):
    """Make the stream over the toy set with some arguments changed."""
    shards = toy_shards(3, NUM_BASES)

    def make(
        shape: StepShape = SHAPE, split: Split = Split.TRAIN, length_mix="dnabert", **changes
    ) -> PackedSteps:
        plan = SamplingPlan(shards.stretch_tokens, shape.max_tokens, 1, length_mix, split=split)
        return PackedSteps(shards, plan, shape, masking=Masking(MaskRule(3, probability=0.1)), **changes)

    return make


def content(value) -> object:
    """What can be compared with ==."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, tuple):
        return tuple(map(content, value))
    if isinstance(value, StepBatch | MicroBatch):
        return {field.name: content(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def first(stream, count: int) -> list[object]:
    return [content(step) for step in itertools.islice(stream, count)]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(steps, num_workers) -> None:
    finite = steps(num_samples=230)
    expected = first(finite, 99)
    assert len(expected) == 5  # not a multiple of 2 or 3 workers
    loader = DataLoader(finite, batch_size=None, num_workers=num_workers, multiprocessing_context="fork")
    assert first(loader, 99) == expected


def rows_of(step: StepBatch, tokens_per_row: int) -> list[object]:
    """Cut a step's micro-batches into rows: ids, positions, masked places and labels, and hidden bases."""
    rows = []
    for batch in step.micro_batches:
        for start in range(0, len(batch.ids), tokens_per_row):
            row = slice(start, start + tokens_per_row)
            inside = (batch.masked_at >= row.start) & (batch.masked_at < row.stop)
            hidden = inside[batch.hidden_token]
            rows.append(
                (
                    batch.ids[row].tolist(),
                    batch.positions[row].tolist(),
                    (batch.masked_at[inside] - start).tolist(),
                    batch.labels[inside].tolist(),
                    (batch.masked_at[batch.hidden_token[hidden]] - start).tolist(),
                    batch.hidden_offset[hidden].tolist(),
                    batch.hidden_base[hidden].tolist(),
                )
            )
    return rows


@pytest.mark.parametrize(("size", "micro_batch_size"), [(1, 1), (1, 8), (2, 4), (4, 1), (4, 2)])
def test_ranks_and_micro_batches_share_out_the_same_rows(steps, size, micro_batch_size) -> None:
    shape = dataclasses.replace(SHAPE, micro_batch_size=micro_batch_size)
    whole = list(itertools.islice(steps(), 3))
    ranks = [
        list(itertools.islice(steps(shape, data_parallel_rank=rank, data_parallel_size=size), 3))
        for rank in range(size)
    ]
    for at, expected in enumerate(whole):
        parts = [rank[at] for rank in ranks]
        assert list(itertools.chain(*(rows_of(part, 256) for part in parts))) == rows_of(expected, 256)
        for part in parts:
            assert len(part.micro_batches) == 8 // size // micro_batch_size
            for name in ("consumed_samples", "num_tokens", "num_samples"):
                assert getattr(part, name) == getattr(expected, name)
        batches = [batch for part in parts for batch in part.micro_batches]
        assert sum(batch.num_tokens for batch in batches) == expected.num_tokens
        assert sum(batch.num_samples for batch in batches) == expected.num_samples


def test_a_run_resumes_at_its_count_of_consumed_samples(steps) -> None:
    expected = first(steps(), 6)
    assert expected[0]["consumed_samples"] == expected[0]["num_samples"] > 0
    for at in (1, 2, 5):
        resumed = steps(consumed_samples=expected[at - 1]["consumed_samples"])
        assert first(resumed, 6 - at) == expected[at:]


def test_the_same_stream_comes_again_and_other_steps_are_other_samples(steps) -> None:
    stream = steps()
    once = first(stream, 4)
    assert first(stream, 4) == once
    ids = [step["micro_batches"][0]["ids"] for step in once]
    assert all(a != b for a, b in itertools.combinations(ids, 2))


@pytest.mark.parametrize("num_samples", [1, 64, 157])
def test_a_finite_stream_ends_with_its_last_sample_on_all_ranks_alike(steps, num_samples) -> None:
    ranks = [
        list(
            steps(
                split=Split.VALIDATION, num_samples=num_samples, data_parallel_rank=rank, data_parallel_size=4
            )
        )
        for rank in range(4)
    ]
    assert {len(rank) for rank in ranks} == {len(ranks[0])}
    assert ranks[0][-1].consumed_samples == num_samples
    assert sum(step.num_samples for step in ranks[0]) == num_samples
    batches = [batch for rank in ranks for step in rank for batch in step.micro_batches]
    assert all(len(batch.ids) == sum(batch.segment_lengths) == 512 for batch in batches)
    assert sum(batch.num_samples for batch in batches) == num_samples
    if num_samples == 1:
        assert [len(rank[0].micro_batches[0].labels) > 0 for rank in ranks] == [True, False, False, False]


def test_full_samples_of_64_positions_fill_rows_of_256_exactly(toy_shards) -> None:
    shards = toy_shards(3, [10_000])
    plan = SamplingPlan(shards.stretch_tokens, 62, 1, "full")
    step = next(iter(PackedSteps(shards, plan, SHAPE, masking=Masking(MaskRule(3, probability=0.1)))))
    assert step.num_samples == 32
    assert step.num_tokens == 8 * 256
    assert step.micro_batches[0].segment_lengths == (64,) * 8


def test_a_step_travels_by_value_and_can_be_moved(steps, monkeypatch) -> None:
    step = next(iter(steps()))
    again = pickle.loads(pickle.dumps(step))
    assert content(again) == content(step)
    again.micro_batches[0].ids.zero_()  # writable, and not the sender's memory
    assert step.micro_batches[0].ids.any()

    moved = step.to("meta", non_blocking=True)
    fields = [field.name for field in dataclasses.fields(MicroBatch)]
    tensors = [getattr(batch, name) for batch in moved.micro_batches for name in fields]
    assert {each.device.type for each in tensors if isinstance(each, torch.Tensor)} == {"meta"}
    assert moved.micro_batches[0].segment_lengths == step.micro_batches[0].segment_lengths

    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    assert content(step.pin_memory()) == content(step)
    assert len(pinned) == 7 * len(step.micro_batches)


def test_the_stream_is_cheap_to_send_to_a_worker(steps) -> None:
    assert len(pickle.dumps(steps().plan)) < 2000
