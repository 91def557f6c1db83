"""A shard set in memory, for tests of what is built from shards."""

from __future__ import annotations

import numpy as np
import pytest

from dnabert_nemo.kmer.ids import kmer_ids


class ToyShards:
    """Reads like a `ShardSet`, from random sequence; it pickles, as a DataLoader worker's copy must."""

    def __init__(self, k: int, num_bases: list[int]) -> None:
        rng = np.random.Generator(np.random.Philox(5))
        self.ids = [kmer_ids(rng.integers(4, size=n).astype(np.uint8), k) for n in num_bases]
        self.stretch_tokens = np.array([len(each) for each in self.ids])

    def read_soft_mask(self, stretch: int, first: int, count: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(stretch)).random(10**5)[first : first + count] < 0.5

    def read(self, stretch: int, first: int, count: int) -> np.ndarray:
        return self.ids[stretch][first : first + count]

    def where(self, stretch: int) -> str:
        return f"toy, stretch {stretch}"


@pytest.fixture
def toy_shards():
    """Make a `ToyShards` of this k and these numbers of bases."""
    return ToyShards
