"""The reservoir draws fairly, repeatably, exactly as many as asked, and never the head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.reservoir import Reservoir, equal_portion


def draw(size: int | None, num_items: int, seed: int, stream: int | str = "s") -> list[int]:
    """Draw from the items 0 .. num_items - 1; return what the slots hold at the end."""
    reservoir = Reservoir(size, seed, stream)
    slots: dict[int, int] = {}
    for item in range(num_items):
        slot = reservoir.offer()
        if slot is not None:
            slots[slot] = item
    assert reservoir.num_offered == num_items and reservoir.num_held == len(slots)
    assert sorted(slots) == list(range(len(slots)))
    return [slots[slot] for slot in range(len(slots))]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 50), st.integers(0, 300), st.integers(0, 2**64 - 1), st.text(max_size=5))
def test_exactly_as_many_as_asked_no_item_twice_the_same_again(size, num_items, seed, stream):
    drawn = draw(size, num_items, seed, stream)
    assert len(set(drawn)) == len(drawn) == min(size, num_items)
    assert drawn == draw(size, num_items, seed, stream)
    assert draw(None, num_items, seed, stream) == list(range(num_items))


def test_every_item_is_equally_likely():
    size, num_items, num_seeds = 10, 40, 4000
    drawn = np.array([draw(size, num_items, seed) for seed in range(num_seeds)])
    assert chisquare(np.bincount(drawn.ravel(), minlength=num_items)).pvalue > 1e-3
    # so are neighbours: were they drawn together, the variance of their joint count would show it
    is_in = np.zeros((num_seeds, num_items), dtype=bool)
    is_in[np.arange(num_seeds)[:, None], drawn] = True
    both = (is_in[:, 1:] & is_in[:, :-1]).sum(axis=0)
    wanted = num_seeds * size * (size - 1) / (num_items * (num_items - 1))
    assert np.abs(both - wanted).max() < 5 * np.sqrt(wanted)


def test_seeds_and_streams_draw_independently_and_never_the_head():
    draws = [draw(100, 10_000, seed, stream) for seed in range(5) for stream in ("a", "b", 1, 2)]
    for at, drawn in enumerate(draws):
        assert np.mean(drawn) == pytest.approx(5000, abs=1500)  # five standard errors
        for other in draws[:at]:
            assert len(set(drawn) & set(other)) < 10  # one is expected


def test_few_of_a_long_stream_are_taken():
    reservoir = Reservoir(1000, 7, "s")
    taken = sum(reservoir.offer() is not None for _ in range(100_000))
    assert taken == pytest.approx(1000 * (1 + np.log(100)), rel=0.05)


def test_the_draw_is_that_of_every_version():
    assert draw(5, 1000, 3, "sample") == [370, 598, 160, 960, 427]
    assert equal_portion({"a": 20, "b": 5}, "a", 3).tolist() == [0, 8, 9, 10, 19]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=4), st.integers(0, 2**64 - 1))
def test_all_samples_give_as_many_as_the_smallest(counts, seed):
    num_kept = {f"sample{number}": count for number, count in enumerate(counts)}
    for sample, count in num_kept.items():
        rows = equal_portion(num_kept, sample, seed)
        assert rows.dtype == np.int64 and len(rows) == min(counts)
        assert (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < count
        assert np.array_equal(rows, equal_portion(num_kept, sample, seed))


def test_a_portion_is_a_fair_choice():
    num_kept = {"large": 40, "small": 10}
    rows = np.concatenate([equal_portion(num_kept, "large", seed) for seed in range(4000)])
    assert chisquare(np.bincount(rows, minlength=40)).pvalue > 1e-3


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(ConfigError, match="reads_per_sample=0: give a whole number"):
        Reservoir(0, 1, "s")
    with pytest.raises(ConfigError, match=r"sample 'b' kept no read.*loosen the read filter"):
        equal_portion({"a": 5, "b": 0}, "a", 1)
