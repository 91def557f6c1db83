"""The canonical k-mers of a sequence, the same on both strands: `shards` finds near-duplicates by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CANONICAL_K = 32  # two bits a base in 64
_BLOCK = 1 << 16  # bases worked on at once: what is in the cache goes three times as fast
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
_HALF = np.uint64(32)


def canonical_kmers(codes: NDArray[np.uint8], k: int) -> NDArray[np.uint64]:
    """Return the k-mers of n bases (`alphabet` codes below 4), uint64 [n - k + 1], at stride 1.

    Each is the smaller of the k-mer and its reverse complement, both read as numbers of two bits a base.
    """
    assert 1 <= k <= MAX_CANONICAL_K
    count = max(len(codes) - k + 1, 0)
    found = np.empty(count, dtype=np.uint64)
    room = _room(min(count, _BLOCK) + k - 1)
    for first in range(0, count, _BLOCK):
        after = min(first + _BLOCK, count)
        np.minimum(*_stranded(codes[first : after + k - 1], k, room), out=found[first:after])
    return found


def stranded_kmers(codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the k-mers of n >= k bases as written and their reverse complements, uint64 [n - k + 1] each."""
    return _stranded(codes, k, _room(len(codes)))


@dataclass(frozen=True, slots=True)
class _Words:
    """All words of one width, as written and complemented, in a row of the room."""

    row: int
    width: int  # bases
    count: int


def _room(num_bases: int) -> NDArray[np.uint64]:
    # Written over and over: fresh memory for every step would take twice as long as the work.
    return np.empty((3, 2, num_bases), dtype=np.uint64)


def _stranded(
    codes: NDArray[np.uint8], k: int, room: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Join words of 1, 2, 4, ... bases two by two, so that k costs its number of binary digits."""
    room[0, 0, : len(codes)] = codes
    np.bitwise_xor(room[0, 0, : len(codes)], np.uint64(1), out=room[0, 1, : len(codes)])
    power = _Words(row=0, width=1, count=len(codes))
    done: _Words | None = None  # as wide as the lower digits of k
    while True:
        if k & power.width:
            done = power if done is None else _joined(done, power, room, {0, 1, 2} - {done.row, power.row})
        if 2 * power.width > k:
            assert done is not None
            return room[done.row, 0, : done.count], room[done.row, 1, : done.count]
        power = _joined(power, power, room, {0, 1, 2} - {power.row, power.row if done is None else done.row})


def _joined(left: _Words, right: _Words, room: NDArray[np.uint64], free: set[int]) -> _Words:
    row = min(free)
    count = min(left.count, right.count - left.width)
    after = slice(left.width, left.width + count)
    forward, backward = room[row, 0, :count], room[row, 1, :count]
    np.left_shift(room[left.row, 0, :count], np.uint64(2 * right.width), out=forward)
    forward |= room[right.row, 0, after]
    np.left_shift(room[right.row, 1, after], np.uint64(2 * left.width), out=backward)
    backward |= room[left.row, 1, :count]
    return _Words(row, left.width + right.width, count)


def scrambled(kmers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return hashes of k-mers, uint64 as given: no two k-mers share one, and which are small is chance."""
    hashes = kmers ^ np.uint64(seed)
    high = np.empty_like(hashes[:_BLOCK])
    for first in range(0, len(hashes), _BLOCK):
        block = hashes[first : first + _BLOCK]
        for multiplier in _MULTIPLIERS:
            block *= multiplier
            block ^= np.right_shift(block, _HALF, out=high[: len(block)])
    return hashes


def distinct(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return each value once, rising; ten times as fast on hashes as np.unique, which makes a table."""
    found = np.sort(values)
    is_new = np.ones(len(found), dtype=np.bool_)
    np.not_equal(found[1:], found[:-1], out=is_new[1:])
    return found[is_new]
