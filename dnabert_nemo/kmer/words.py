"""Random words without a state, functions of a key and a counter; `masking` and the sampler draw them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(words: Words) -> Words:
    """Mix the bits of each word: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def words_at(keys: Words, counters: NDArray[np.integer]) -> Words:
    """Return word number `counters` of the SplitMix64 generator seeded with `keys`, element by element."""
    return mixed(keys + (counters.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
