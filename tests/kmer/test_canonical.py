"""Canonical k-mers: against their definition, the same on both strands, hashed without collision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.genome.alphabet import reverse_complement
from dnabert_nemo.kmer.canonical import (
    MAX_CANONICAL_K,
    canonical_kmers,
    distinct,
    scrambled,
    stranded_kmers,
)

CODES = st.lists(st.integers(0, 3), min_size=1, max_size=90).map(
    lambda codes: np.array(codes, dtype=np.uint8)
)
K = st.integers(1, MAX_CANONICAL_K)


def number(codes: np.ndarray) -> int:
    return int("".join(map(str, codes.tolist())), 4)


@given(codes=CODES, k=K)
def test_they_are_the_smaller_of_both_strands(codes: np.ndarray, k: int) -> None:
    expected = [
        min(number(codes[i : i + k]), number(reverse_complement(codes[i : i + k])))
        for i in range(len(codes) - k + 1)
    ]
    assert canonical_kmers(codes, k).tolist() == expected


@given(codes=CODES, k=K)
def test_the_other_strand_has_the_same_backwards(codes: np.ndarray, k: int) -> None:
    other = canonical_kmers(reverse_complement(codes), k)
    np.testing.assert_array_equal(canonical_kmers(codes, k), other[::-1])


@pytest.mark.parametrize("k", [7, 15, 16, 31, 32])
def test_blocks_join_without_a_seam(k: int) -> None:
    codes = np.random.default_rng(1).integers(0, 4, 200_000, dtype=np.uint8)
    np.testing.assert_array_equal(canonical_kmers(codes, k), np.minimum(*stranded_kmers(codes, k)))


@given(st.lists(st.integers(0, 2**64 - 1), unique=True), st.integers(0, 2**64 - 1))
def test_no_two_share_a_hash(kmers: list[int], seed: int) -> None:
    given_kmers = np.array(kmers, dtype=np.uint64)
    assert len(set(scrambled(given_kmers, seed).tolist())) == len(kmers)
    assert given_kmers.tolist() == kmers


def test_half_of_the_hashes_are_in_the_lower_half_whatever_the_seed() -> None:
    kmers = np.arange(20_000, dtype=np.uint64)
    halves = [np.mean(scrambled(kmers, seed) < np.uint64(1 << 63)) for seed in range(5)]
    assert np.abs(np.array(halves) - 0.5).max() < 0.02


@given(st.lists(st.integers(0, 50)))
def test_distinct_is_sorted_and_once(values: list[int]) -> None:
    assert distinct(np.array(values, dtype=np.uint64)).tolist() == sorted(set(values))
