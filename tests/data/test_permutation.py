"""The keyed permutation: a bijection for every n, and a different and even one for every key."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.permutation import NUM_ROUNDS, permuted


def keys(seed: int, count: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(seed))
    return rng.integers(2**64, size=(count, NUM_ROUNDS), dtype=np.uint64)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_is_a_bijection_of_range_n(n: int, seed: int) -> None:
    image = permuted(np.arange(n), np.full(n, n), np.repeat(keys(seed, 1), n, axis=0))
    assert np.array_equal(np.sort(image), np.arange(n))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 2**62), seed=st.integers(0, 2**32))
def test_large_ranges_stay_inside_and_apart(n: int, seed: int) -> None:
    index = np.unique(np.linspace(0, n - 1, 100, dtype=np.int64).clip(0, n - 1))
    image = permuted(index, np.full(len(index), n), np.repeat(keys(seed, 1), len(index), axis=0))
    assert image.min() >= 0 and image.max() < n
    assert len(np.unique(image)) == len(index)


def test_ranges_and_keys_are_each_indexs_own() -> None:
    n = np.repeat([1, 2, 9, 1000], [1, 2, 9, 1000])
    index = np.concatenate([np.arange(size) for size in (1, 2, 9, 1000)])
    round_keys = np.repeat(keys(4, 4), [1, 2, 9, 1000], axis=0)
    together = permuted(index, n, round_keys)
    apart = [permuted(index[n == size], n[n == size], round_keys[n == size]) for size in (1, 2, 9, 1000)]
    assert np.array_equal(together, np.concatenate(apart))
    assert all(sorted(each) == list(range(len(each))) for each in apart)


def test_every_index_goes_everywhere_alike_over_the_keys() -> None:
    n, num_keys = 12, 6000
    round_keys = keys(1, num_keys)
    for index in range(n):
        image = permuted(np.full(num_keys, index), np.full(num_keys, n), round_keys)
        expected = num_keys / n
        chi_square = ((np.bincount(image, minlength=n) - expected) ** 2 / expected).sum()
        assert chi_square < 36  # 11 degrees of freedom: p = 2e-4


def test_neighbours_part() -> None:
    n = 10_007
    image = permuted(np.arange(n), np.full(n, n), np.repeat(keys(2, 1), n, axis=0))
    assert abs(np.corrcoef(np.arange(n), image)[0, 1]) < 0.05
    step = np.abs(np.diff(image))
    assert abs(step.mean() - n / 3) < 0.02 * n  # the mean distance of two uniform draws
