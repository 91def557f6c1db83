"""The sampling plan: pure in (seed, i), within its stretches, reaching all of them, of DNABERT's lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.sampling import SamplingPlan, Split

stretches = st.lists(st.integers(0, 90), min_size=1, max_size=12).filter(any).map(np.array)


@settings(max_examples=60, deadline=None)
@given(
    stretches,
    st.integers(5, 30),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
    st.integers(1, 40),
    st.data(),
)
def test_a_block_equals_its_samples_one_by_one(tokens, max_tokens, seed, first, count, data) -> None:
    plan = SamplingPlan(tokens, max_tokens, seed, reverse_complement=True)
    block = plan.samples(first, count)
    cut = data.draw(st.integers(0, count))
    again = SamplingPlan(tokens, max_tokens, seed, reverse_complement=True)
    assert np.array_equal(
        block, np.concatenate([again.samples(first, cut), again.samples(first + cut, count - cut)])
    )
    assert np.array_equal(block, np.concatenate([plan.samples(first + i, 1) for i in range(count)]))


@settings(max_examples=60, deadline=None)
@given(stretches, st.integers(5, 30), st.integers(0, 2**32), st.sampled_from(["dnabert", "full"]))
def test_samples_stay_within_their_stretch(tokens, max_tokens, seed, length_mix) -> None:
    samples = SamplingPlan(tokens, max_tokens, seed, length_mix).samples(0, 300)
    stretch = tokens[samples["stretch"]]
    assert (samples["start"] >= 0).all()
    assert (samples["start"] + samples["length"] <= stretch).all()
    assert (samples["length"] >= np.minimum(5, stretch)).all()
    assert (samples["length"] <= max_tokens).all()
    if length_mix == "full":
        assert np.array_equal(samples["length"], np.minimum(max_tokens, stretch))


@settings(max_examples=30, deadline=None)
@given(stretches, st.integers(5, 30), st.integers(0, 2**32), st.integers(0, 5))
def test_an_epoch_takes_each_window_once(tokens, max_tokens, seed, epoch) -> None:
    plan = SamplingPlan(tokens, max_tokens, seed)
    samples = plan.samples(epoch * plan.num_windows, plan.num_windows)
    windows_of_stretch = np.ceil(tokens / max_tokens).astype(int)
    assert np.array_equal(np.bincount(samples["stretch"], minlength=len(tokens)), windows_of_stretch)


def test_full_samples_of_an_epoch_cover_the_set() -> None:
    tokens = np.array([1000, 40, 100, 7, 333])
    plan = SamplingPlan(tokens, 50, 3, "full")
    for epoch in range(20):
        depth = [np.zeros(n, dtype=int) for n in tokens]
        for stretch, start, length, *_ in plan.samples(epoch * plan.num_windows, plan.num_windows).tolist():
            depth[stretch][start : start + length] += 1
        uncovered = sum((each == 0).sum() for each in depth)
        assert uncovered <= 50 * len(
            tokens
        )  # at most one window a stretch folds back where the grid is shifted past it
        assert max(each.max() for each in depth) <= 3


def test_every_start_is_reached_by_every_length() -> None:
    tokens, max_tokens = np.array([23, 12, 4]), 8
    samples = SamplingPlan(tokens, max_tokens, 0).samples(0, 20_000)
    seen = {tuple(each) for each in samples[["stretch", "start", "length"]].tolist()}
    expected = {
        (stretch, start, length)
        for stretch, n in enumerate(tokens.tolist())
        for length in ({5, 6, 7, 8} if n >= 5 else {n})
        for start in range(n - length + 1)
    }
    assert seen == expected


def test_positions_are_covered_evenly_over_epochs() -> None:
    tokens, max_tokens = np.array([5000]), 100
    plan = SamplingPlan(tokens, max_tokens, 11)
    samples = plan.samples(0, 400 * plan.num_windows)
    depth = np.zeros(5001, dtype=np.int64)
    np.add.at(depth, samples["start"], 1)
    np.add.at(depth, samples["start"] + samples["length"], -1)
    inner = np.cumsum(depth)[100:4900]
    assert inner.std() / inner.mean() < 0.1
    assert inner.min() > 0.7 * inner.mean()


def test_dnabert_length_mix() -> None:
    length = SamplingPlan(np.array([10**9]), 510, 5).samples(0, 200_000)["length"]
    full = (length == 510).mean()
    assert abs(full - (0.2 + 0.8 / 506)) < 0.004
    shorter = length[length < 510]
    assert shorter.min() == 5 and shorter.max() == 509
    assert abs(shorter.mean() - (5 + 509) / 2) < 1.5
    quarters = np.histogram(shorter, bins=4, range=(5, 510))[0] / len(shorter)
    assert np.abs(quarters - 0.25).max() < 0.005
    assert abs(length.mean() - (0.2 * 510 + 0.8 * 257.5)) < 1.5  # about 310, as published


def test_strand() -> None:
    tokens = np.array([1000, 2000])
    assert not SamplingPlan(tokens, 100, 1).samples(0, 5000)["reverse"].any()
    both = SamplingPlan(tokens, 100, 1, reverse_complement=True).samples(0, 5000)
    assert abs(both["reverse"].mean() - 0.5) < 0.03
    forward = SamplingPlan(tokens, 100, 1).samples(0, 5000)
    for name in ("stretch", "start", "length", "mask_key"):
        assert np.array_equal(both[name], forward[name])


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"seed": 2**63}, {"split": Split.VALIDATION}, {"split": Split.TEST}]
)
def test_seeds_and_splits_are_strangers(other) -> None:
    tokens = np.array([10**6])
    mine = SamplingPlan(tokens, 510, 1).samples(0, 2000)
    theirs = SamplingPlan(tokens, 510, **({"seed": 1} | other)).samples(0, 2000)
    assert not np.isin(mine["mask_key"], theirs["mask_key"]).any()
    for name in ("start", "length"):
        assert abs(np.corrcoef(mine[name], theirs[name])[0, 1]) < 0.1


def test_epochs_differ_in_order_and_shift() -> None:
    plan = SamplingPlan(np.array([51_000]), 510, 1, "full")
    first, second = (plan.samples(epoch * 100, 100)["start"] for epoch in (0, 1))
    assert not np.array_equal(np.sort(first), np.sort(second))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.35
    assert len(np.unique(plan.samples(0, 200)["mask_key"])) == 200


def test_sample_numbers_stay_the_same_samples() -> None:
    # Where these numbers change, a seed means other samples, and no run resumes across versions.
    samples = SamplingPlan(np.array([4000, 300, 9000]), 510, 42, reverse_complement=True).samples(24, 4)
    assert samples.tolist() == [
        (2, 5346, 454, False, 3230392067770100274),
        (0, 2000, 349, False, 2121413946202410541),
        (2, 101, 510, False, 13515919732832621562),
        (2, 3230, 331, False, 10200359169963748816),
    ]


@pytest.mark.parametrize("length_mix", ["dnabert", "full"])
@pytest.mark.parametrize("tokens", [1300, 16_382])
def test_no_part_of_a_stretch_is_favoured(tokens: int, length_mix: str) -> None:
    """Starts are even over the stretch, so tokens are, but for the first and last of them."""
    samples = SamplingPlan(np.array([tokens]), 510, 3, length_mix).samples(0, 60_000)
    seen = np.zeros(tokens + 1)
    np.add.at(seen, samples["start"], 1)
    np.add.at(seen, samples["start"] + samples["length"], -1)
    inside = np.cumsum(seen)[:-1][510:-510]
    assert inside.max() / inside.min() < 1.25
