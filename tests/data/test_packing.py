"""The packer: in order, first fit, nothing dropped; and how little it wastes on DNABERT's lengths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.packing import StepShape, pack_step
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.errors import ConfigError


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=200), st.integers(1, 9), st.integers(64, 200))
def test_takes_the_next_samples_first_fit_and_stops_where_one_fits_nowhere(
    lengths, num_rows, tokens_per_row
) -> None:
    rows, consumed = pack_step(iter(lengths), num_rows, tokens_per_row)
    assert len(rows) == num_rows
    assert sorted(itertools.chain(*rows)) == list(range(consumed))
    assert all(row == sorted(row) for row in rows)
    free = [tokens_per_row - sum(lengths[each] for each in row) for row in rows]
    assert min(free) >= 0
    assert consumed == len(lengths) or max(free) < lengths[consumed]

    # first fit: when a sample was placed, it fitted no earlier row
    filled = [0] * num_rows
    for sample, at in sorted((sample, at) for at, row in enumerate(rows) for sample in row):
        assert all(filled[earlier] + lengths[sample] > tokens_per_row for earlier in range(at))
        filled[at] += lengths[sample]


def test_reads_one_length_past_the_step_at_most() -> None:
    lengths = iter([60, 50, 40, 50, 7])
    assert pack_step(lengths, 2, 100) == ([[0, 2], [1, 3]], 4)
    assert list(lengths) == []
    endless = itertools.repeat(64)
    assert pack_step(endless, 3, 128)[1] == 6


def test_wastes_little_at_8192_tokens_a_row() -> None:
    plan = SamplingPlan(np.array([10**8]), 510, 7)
    num_steps, num_rows, tokens_per_row = 40, 8, 8192
    first = 0
    tokens = 0
    for _ in range(num_steps):
        lengths = plan.samples(first, 400)["length"] + 2
        _, consumed = pack_step(lengths.tolist(), num_rows, tokens_per_row)
        tokens += int(lengths[:consumed].sum())
        first += consumed
    waste = 1 - tokens / (num_steps * num_rows * tokens_per_row)
    assert 0 < waste < 0.03


GOOD = {"global_batch_size": 8, "micro_batch_size": 2, "tokens_per_row": 1024, "max_positions": 512}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"global_batch_size": 6},
            "model.global_batch_size=6 is not a multiple of model.micro_batch_size=2 x 2",
        ),
        (
            {"micro_batch_size": 3},
            "model.global_batch_size=8 is not a multiple of model.micro_batch_size=3 x 2",
        ),
        ({"micro_batch_size": 0}, "model.micro_batch_size=0 must be 1 or more"),
        ({"global_batch_size": -4}, "model.global_batch_size=-4 must be 1 or more"),
        (
            {"tokens_per_row": 511},
            "model.data.tokens_per_row=511 is less than model.max_position_embeddings=512",
        ),
        ({"max_positions": 6}, "model.max_position_embeddings=6 is too few"),
    ],
)
def test_a_shape_that_cannot_work_names_the_override(change, message) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")) as raised:
        StepShape(**(GOOD | change)).check(data_parallel_size=2)
    assert "\n" not in str(raised.value)


def test_a_shape_that_works_passes() -> None:
    StepShape(**GOOD).check(data_parallel_size=4)
