"""The true similarity of pairs of windows, from their bases; after `candidates`, before `groups`.

Windows that are in a pair are written out at two bits a base, so that any two can be laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.kmer.canonical import canonical_kmers, distinct, scrambled, stranded_kmers

EXACT_KMERS = 1 << 18  # of a window with more, a share of the k-mers is compared: J to within .002
_STRAND_KMERS = 1 << 10  # enough to tell the strand by
_PART = 1 << 20  # bases worked on at once
_CACHED = 64  # windows whose k-mers are held
_SHIFTS = np.array([6, 4, 2, 0], dtype=np.uint8)
_BASES_OF_BYTE = (np.arange(256, dtype=np.uint8)[:, None] >> _SHIFTS) & np.uint8(3)


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack base codes below 4, uint8 [n], into two bits each: uint8 [ceil(n / 4)]."""
    four = np.zeros((-(-len(codes) // 4), 4), dtype=np.uint8)
    four.reshape(-1)[: len(codes)] = codes
    shifted = four << _SHIFTS
    return np.bitwise_or(shifted[:, 0] | shifted[:, 1], shifted[:, 2] | shifted[:, 3])


def unpack(packed: NDArray[np.uint8], bases: int) -> NDArray[np.uint8]:
    """Return the codes that `pack` packed: uint8 [bases]."""
    return _BASES_OF_BYTE[packed].reshape(-1)[:bases]


@dataclass(frozen=True)
class PackedWindows:
    """Windows at two bits a base in one file, and the table of which they are."""

    content: Path
    index: Path  # .npy, int64 [num_packed, 3]: window, first byte, bases; by window

    def reader(self) -> Callable[[int], NDArray[np.uint8]]:
        """Open the files; return the function that gives a window's base codes."""
        index = np.load(self.index, mmap_mode="r")
        windows = index[:, 0]
        content = np.memmap(self.content, dtype=np.uint8, mode="r")

        def codes(window: int) -> NDArray[np.uint8]:
            found, first, bases = index[np.searchsorted(windows, window)].tolist()
            assert found == window
            return unpack(content[first : first + -(-bases // 4)], bases)

        return codes


@dataclass(frozen=True, eq=False)
class PairJob:
    """All that comparing some pairs takes, in any process."""

    packed: PackedWindows
    pairs: NDArray[np.int64]  # [num_pairs, 2]; pairs of one window side by side cost least
    k: int
    seed: int
    tell_strand: bool


@dataclass(frozen=True, eq=False)
class Compared:
    """What a `PairJob` found, in its order."""

    similarity: NDArray[np.float64]  # [num_pairs], Jaccard of the sets of canonical k-mers
    is_same_strand: NDArray[np.bool_]  # [num_pairs]; True where not asked


def compare_pairs(job: PairJob) -> Compared:
    """Compare pairs of windows, at a few windows in memory."""

    codes = lru_cache(2)(job.packed.reader())

    @lru_cache(_CACHED)
    def kmers(window: int) -> KmerSample:
        return sample_kmers(codes(window), job.k, job.seed)

    similarity, is_same_strand = [], []
    for one, other in job.pairs.tolist():
        similarity.append(jaccard(kmers(one), kmers(other)))
        is_same_strand.append(not job.tell_strand or same_strand(codes(one), codes(other), job.k, job.seed))
    return Compared(np.array(similarity, dtype=np.float64), np.array(is_same_strand, dtype=np.bool_))


@dataclass(frozen=True, eq=False)
class KmerSample:
    """The canonical k-mers of a window, all or those whose hash is below 2^(64 - halvings)."""

    hashes: NDArray[np.uint64]  # rising
    halvings: int


def sample_kmers(codes: NDArray[np.uint8], k: int, seed: int) -> KmerSample:
    """Collect the canonical k-mers of a window, as hashes; of a long one, a share that its length decides."""
    halvings = _halvings(len(codes) - k + 1, EXACT_KMERS)
    parts = [
        distinct(_below(scrambled(canonical_kmers(part, k), seed), halvings)) for part in _parts(codes, k)
    ]
    return KmerSample(distinct(np.concatenate(parts)) if len(parts) > 1 else parts[0], halvings)


def _halvings(num_kmers: int, enough: int) -> int:
    return max(0, math.ceil(math.log2(num_kmers / enough)))


def _parts(codes: NDArray[np.uint8], k: int) -> Iterator[NDArray[np.uint8]]:
    return (codes[first : first + _PART + k - 1] for first in range(0, len(codes) - k + 1, _PART))


def _below(hashes: NDArray[np.uint64], halvings: int) -> NDArray[np.uint64]:
    return hashes[hashes < np.uint64(1 << (64 - halvings))] if halvings else hashes


def jaccard(one: KmerSample, other: KmerSample) -> float:
    """Return |A and B| / |A or B| of two windows' k-mers, at the share that both have."""
    halvings = max(one.halvings, other.halvings)
    first, second = _below(one.hashes, halvings), _below(other.hashes, halvings)
    shared = _shared(first, second)
    return shared / max(len(first) + len(second) - shared, 1)


def same_strand(one: NDArray[np.uint8], other: NDArray[np.uint8], k: int, seed: int) -> bool:
    """Tell whether two similar windows are alike as written, or one as the other's reverse complement."""
    halvings = max(_halvings(len(window) - k + 1, _STRAND_KMERS) for window in (one, other))
    here, _ = _by_strand(one, k, seed, halvings)
    as_written, complemented = _by_strand(other, k, seed, halvings)
    return _shared(here, as_written) >= _shared(here, complemented)


def _by_strand(
    codes: NDArray[np.uint8], k: int, seed: int, halvings: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Collect a share of a window's k-mers, as written and as their reverse complements."""
    parts = []
    for part in _parts(codes, k):
        forward, backward = stranded_kmers(part, k)
        if halvings:
            kept = scrambled(np.minimum(forward, backward), seed) < np.uint64(1 << (64 - halvings))
            forward, backward = forward[kept], backward[kept]
        parts.append((forward, backward))
    forward, backward = (distinct(np.concatenate(strand)) for strand in zip(*parts, strict=True))
    return forward, backward


def _shared(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> int:
    return int(np.intersect1d(one, other, assume_unique=True).size)


def chunks(pairs: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut pairs into runs of `size`."""
    return (pairs[first : first + size] for first in range(0, len(pairs), size))
