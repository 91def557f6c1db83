"""Weights to samples: exact shares, and each component visited as if it were alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.mixture import SLOTS, Mixture
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.errors import ConfigError

weights = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=9).map(np.array)


@given(weights, st.integers(0, 2**63))
@settings(max_examples=60, deadline=None)
def test_shares_are_exact_to_a_slot_and_turns_count_up(weights: np.ndarray, seed: int) -> None:
    mixture = Mixture(weights, seed)
    exact = weights / weights.sum() * SLOTS
    assert mixture.slots.sum() == SLOTS
    assert (mixture.slots >= 1).all()
    assert (np.abs(mixture.slots - exact) <= max(1, len(weights))).all()
    component, turn = mixture.at(np.arange(2 * SLOTS))
    assert np.bincount(component).tolist() == (2 * mixture.slots).tolist()
    for number in range(len(weights)):
        assert np.array_equal(turn[component == number], np.arange(2 * mixture.slots[number]))
    # what comes later is told without what came before
    later = 10**12 + np.arange(50)
    found, turns = mixture.at(later)
    cycle, slot = np.divmod(later, SLOTS)
    assert np.array_equal(found, component[slot])
    assert np.array_equal(turns, turn[slot] + cycle * mixture.slots[found])


def test_small_weights_get_a_slot_and_the_others_keep_their_ratio() -> None:
    slots = Mixture(np.array([1e-12, 3, 1, 0.0, 1e-12]), seed=1).slots
    assert slots[[0, 3, 4]].tolist() == [1, 1, 1]
    assert slots[1] / slots[2] == pytest.approx(3, abs=1e-3)
    assert Mixture(np.ones(SLOTS), seed=1).slots.tolist() == [1] * SLOTS
    with pytest.raises(ConfigError, match=r"model\.data\.train has 65537 components"):
        Mixture(np.ones(SLOTS + 1), seed=1)


def test_the_order_is_mixed_and_of_the_seed() -> None:
    component, _ = Mixture(np.array([0.5, 0.3, 0.2]), seed=1).at(np.arange(SLOTS))
    for part in np.split(component, 64):
        assert np.bincount(part, minlength=3) / len(part) == pytest.approx([0.5, 0.3, 0.2], abs=0.06)
    assert not np.array_equal(component, Mixture(np.array([0.5, 0.3, 0.2]), seed=2).at(np.arange(SLOTS))[0])


TOKENS = np.array([900, 40, 5000, 3, 2200, 700])
COMPONENT = np.array([0, 1, 0, 2, 1, 0])


def plan(weights: list[float], **changes) -> SamplingPlan:
    return SamplingPlan(TOKENS, 98, 5, component=COMPONENT, weights=np.array(weights), **changes)


def test_a_component_is_seen_by_its_weight_and_evenly_within() -> None:
    samples = plan([0.1, 0.7, 0.2], length_mix="full").samples(0, SLOTS)
    component = COMPONENT[samples["stretch"]]
    assert np.bincount(component) / SLOTS == pytest.approx([0.1, 0.7, 0.2], abs=1e-4)
    # component 1 has 1 + 23 windows: each of them once an epoch, whatever the others do
    own = samples[component == 1]
    for epoch in range(100):
        counts = Counter(own["stretch"][24 * epoch : 24 * (epoch + 1)].tolist())
        assert counts == {1: 1, 4: 23}


def test_thousands_of_components_take_turns_and_each_window_comes_once_an_epoch() -> None:
    rng = np.random.Generator(np.random.Philox(4))
    tokens, component = rng.integers(1, 400, 6000), rng.permutation(np.repeat(np.arange(3000), 2))
    mixed = SamplingPlan(tokens, 98, 5, "full", component=component, weights=np.ones(3000))
    stretch = mixed.samples(0, 2 * SLOTS)["stretch"]
    turns = np.bincount(component[stretch])
    assert set(turns.tolist()) == {2 * 21, 2 * 22}  # 65,536 / 3,000 is 21.8
    windows = -(-tokens // 98)
    for number in range(0, 3000, 300):
        own = np.flatnonzero(component == number)
        seen = stretch[component[stretch] == number].reshape(-1)
        epoch = int(windows[own].sum())
        for first in range(0, len(seen) - epoch, epoch):
            assert Counter(seen[first : first + epoch].tolist()) == dict(zip(own, windows[own], strict=True))


def test_any_sample_is_told_alone() -> None:
    mixed = plan([0.1, 0.7, 0.2], reverse_complement=True)
    whole = mixed.samples(0, 3000)
    for first, count in ((0, 1), (17, 400), (2999, 1), (1000, 1000)):
        assert np.array_equal(mixed.samples(first, count), whole[first : first + count])
    assert (whole["start"] + whole["length"] <= TOKENS[whole["stretch"]]).all()


def test_one_component_is_as_none() -> None:
    alone = SamplingPlan(TOKENS, 98, 5).samples(0, 500)
    one = SamplingPlan(TOKENS, 98, 5, component=np.zeros(6, int), weights=np.ones(1)).samples(0, 500)
    assert np.array_equal(alone, one)


def test_a_component_without_tokens_is_passed_over() -> None:
    tokens = np.array([500, 0, 700])
    samples = SamplingPlan(
        tokens, 98, 5, component=np.array([0, 1, 2]), weights=np.array([0.5, 0.3, 0.2])
    ).samples(0, SLOTS)
    assert np.bincount(samples["stretch"], minlength=3) / SLOTS == pytest.approx([5 / 7, 0, 2 / 7], abs=1e-4)
