"""Which windows may be duplicates: those whose keys are equal; after `signatures`, before `verify`.

Keys lie on disk, one file a band. They are sorted a part at a time, so memory is that of a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.kmer.canonical import distinct

PART_KEYS = 1 << 25  # sorted at once: 32 bytes each
_CHUNK = 1 << 20  # keys read at once

MAX_WINDOWS = 1 << 32  # a pair of windows is one number of 64 bits
_LOW = np.uint64(MAX_WINDOWS - 1)


@dataclass(frozen=True)
class KeyColumn:
    """One key of every window, uint64 [num_windows], in a file that is read a chunk at a time."""

    path: Path
    num_windows: int

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """Yield (first window, keys [n]) from the first window to the last."""
        for first in range(0, self.num_windows, _CHUNK):
            count = min(_CHUNK, self.num_windows - first)
            yield first, np.fromfile(self.path, dtype=np.uint64, count=count, offset=8 * first)

    def take(self, windows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the keys of some windows: uint64 [n]."""
        mapped = np.memmap(self.path, dtype=np.uint64, mode="r", shape=(self.num_windows,))
        return np.asarray(mapped[windows])


def equal_runs(
    keys: KeyColumn, use: NDArray[np.bool_], part_keys: int = PART_KEYS
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield windows with equal keys side by side, int64 [n] rising in a run, and whether each begins one.

    `use` [num_windows] says which take part. Runs of one window are left out.
    """
    bits = max(0, math.ceil(math.log2(max(keys.num_windows, 1) / part_keys)))
    for part in range(1 << bits):
        members, found = _part(keys, use, part, bits)
        order = np.argsort(found, kind="stable")
        members, found = members[order], found[order]
        is_first = np.ones(len(found) + 1, dtype=np.bool_)
        np.not_equal(found[1:], found[:-1], out=is_first[1:-1])
        in_company = ~(is_first[:-1] & is_first[1:])
        yield members[in_company], is_first[:-1][in_company]


def _part(
    keys: KeyColumn, use: NDArray[np.bool_], part: int, bits: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the used windows whose key begins with these bits, and their keys."""
    members, found = [], []
    for first, chunk in keys.chunks():
        chosen = use[first : first + len(chunk)]
        if bits:
            chosen = chosen & (chunk >> np.uint64(64 - bits) == part)
        members.append(first + np.flatnonzero(chosen))
        found.append(chunk[chosen])
    return np.concatenate(members), np.concatenate(found)


def run_firsts(members: NDArray[np.int64], is_first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each member the first of its run: int64 [n]."""
    firsts: NDArray[np.int64] = members[is_first][np.cumsum(is_first) - 1]
    return firsts


def candidate_pairs(
    bands: Iterable[KeyColumn], use: NDArray[np.bool_], part_keys: int = PART_KEYS
) -> NDArray[np.uint64]:
    """Pair the windows that meet in a band: each with the first of its run, and with the one before it.

    So a bucket of n windows costs 2n pairs and not n^2. Returns each pair once, sorted, the smaller window in
    the high half of the number: uint64 [num_pairs].
    """
    pairs = np.empty(0, dtype=np.uint64)
    for keys in bands:
        new = [pairs]
        for members, is_first in equal_runs(keys, use, part_keys):
            later = np.flatnonzero(~is_first)
            firsts = run_firsts(members, is_first)[later]
            new += [_pair(firsts, members[later]), _pair(members[later - 1], members[later])]
        pairs = distinct(np.concatenate(new))
    return pairs


def _pair(smaller: NDArray[np.int64], larger: NDArray[np.int64]) -> NDArray[np.uint64]:
    return (smaller.astype(np.uint64) << np.uint64(32)) | larger.astype(np.uint64)


def unpair(pairs: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the two windows of each pair: int64 [num_pairs, 2]."""
    return np.stack([pairs >> np.uint64(32), pairs & _LOW], axis=1).astype(np.int64)
