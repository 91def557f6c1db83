"""Packed bases come back whole, and the similarity of two windows is the Jaccard index of their k-mers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.duplicates.verify import (
    PackedWindows,
    PairJob,
    chunks,
    compare_pairs,
    jaccard,
    pack,
    same_strand,
    sample_kmers,
    unpack,
)
from dnabert_nemo.genome.alphabet import reverse_complement
from dnabert_nemo.kmer.canonical import canonical_kmers

CODES = st.lists(st.integers(0, 3), min_size=9, max_size=60).map(
    lambda codes: np.array(codes, dtype=np.uint8)
)


def bases(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, count, dtype=np.uint8)


def mutated(codes: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hit = rng.random(len(codes)) < share
    return np.where(hit, (codes + rng.integers(1, 4, len(codes))) % 4, codes).astype(np.uint8)


@given(CODES)
def test_packed_bases_come_back(codes: np.ndarray) -> None:
    packed = pack(codes)
    assert len(packed) == -(-len(codes) // 4)
    np.testing.assert_array_equal(unpack(packed, len(codes)), codes)


@given(one=CODES, other=CODES, k=st.integers(3, 9))
def test_jaccard_is_that_of_the_sets(one: np.ndarray, other: np.ndarray, k: int) -> None:
    first, second = (set(canonical_kmers(codes, k).tolist()) for codes in (one, other))
    found = jaccard(sample_kmers(one, k, 5), sample_kmers(other, k, 5))
    assert found == len(first & second) / len(first | second)
    assert jaccard(sample_kmers(one, k, 5), sample_kmers(reverse_complement(one), k, 5)) == 1


def test_a_long_window_is_compared_by_a_share_of_its_kmers(monkeypatch: pytest.MonkeyPatch) -> None:
    window = bases(80_000, 1)
    other = mutated(window, 0.02)
    true = jaccard(sample_kmers(window, 15, 1), sample_kmers(other, 15, 1))
    short = jaccard(sample_kmers(window[:9_000], 15, 1), sample_kmers(other, 15, 1))
    monkeypatch.setattr("dnabert_nemo.duplicates.verify.EXACT_KMERS", 10_000)
    monkeypatch.setattr("dnabert_nemo.duplicates.verify._PART", 7_000)
    sample = sample_kmers(window, 15, 1)
    assert 5_000 < len(sample.hashes) < 12_000
    assert jaccard(sample, sample_kmers(other, 15, 1)) == pytest.approx(true, abs=0.02)
    assert jaccard(sample_kmers(window[:9_000], 15, 1), sample_kmers(other, 15, 1)) == pytest.approx(
        short, abs=0.02
    )


@pytest.mark.parametrize("length", [40, 900, 30_000])
def test_the_strand_is_told(length: int) -> None:
    window = bases(length, 2)
    other = mutated(window, 0.02)
    assert same_strand(window, other, 11, 1)
    assert not same_strand(window, reverse_complement(other), 11, 1)


@settings(max_examples=20, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_pairs_are_compared_in_their_order(
    pairs: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("packed")
    windows = [bases(50 + number, number // 2) for number in range(5)]
    numbers = np.arange(5) * 3  # what the windows are called
    lengths = np.array([len(window) for window in windows])
    num_bytes = -(-lengths // 4)
    np.save(folder / "index.npy", np.stack([numbers, np.cumsum(num_bytes) - num_bytes, lengths], axis=1))
    (folder / "content").write_bytes(b"".join(pack(window).tobytes() for window in windows))
    packed = PackedWindows(folder / "content", folder / "index.npy")
    found = compare_pairs(PairJob(packed, np.array(pairs) * 3, 7, 1, tell_strand=True))
    expected = [jaccard(sample_kmers(windows[a], 7, 1), sample_kmers(windows[b], 7, 1)) for a, b in pairs]
    assert found.similarity.tolist() == expected
    strands = [same_strand(windows[a], windows[b], 7, 1) for a, b in pairs]
    assert found.is_same_strand.tolist() == strands


def test_chunks_are_all_of_it() -> None:
    pairs = np.arange(14).reshape(7, 2)
    assert [len(some) for some in chunks(pairs, 3)] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(list(chunks(pairs, 3))), pairs)
