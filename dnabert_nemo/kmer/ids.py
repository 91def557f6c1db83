"""Base codes to stride-1 k-mer ids and back; after `genome.alphabet`, before `masking` and `shards`."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import NOT_A_BASE, reverse_complement
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, UNK, check_k


def kmer_ids(codes: NDArray[np.uint8], k: int, *, keep_unknown: bool = False) -> NDArray[np.uint16]:
    """Number every k-mer of base codes [n]: uint16 [n - k + 1], empty where n < k.

    The id is 5 + the base-4 number of the k codes, first base most significant: DNABERT's vocabulary order.
    With `keep_unknown` a k-mer over a letter that is no base is `UNK`.

    Raises:
        ValueError: k is not in 1..7, or a code is no base (cut at `unbroken_stretches` first).
    """
    check_k(k)
    is_known = not len(codes) or codes.max() < NOT_A_BASE
    if not is_known and not keep_unknown:
        raise ValueError(
            "k-mers are made of A, C, G and T only: cut the sequence at its unbroken stretches first"
        )
    num_ids = max(len(codes) - k + 1, 0)
    ids = np.zeros(num_ids, dtype=np.uint16)
    numbers = codes if is_known else codes & 3
    for place in range(k):
        ids <<= 2
        ids |= numbers[place : place + num_ids]
    ids += NUM_SPECIALS
    if not is_known:
        for place in range(k):
            ids[codes[place : place + num_ids] >= NOT_A_BASE] = UNK
    return ids


def bases_of(ids: NDArray[np.integer], k: int) -> NDArray[np.uint8]:
    """Return the base codes [n + k - 1] that the ids [n] of one stretch were made of.

    A base that only `UNK` covers is `NOT_A_BASE`.

    Raises:
        ValueError: k is not in 1..7, or the ids are no k-mers that follow one another.
    """
    table = base_table(k)
    if len(ids) == 0:
        return np.empty(0, dtype=np.uint8)
    if np.any((ids < NUM_SPECIALS) & (ids != UNK)) or np.any(ids >= len(table)):
        raise ValueError(f"the ids are not all {k}-mers or UNK")
    is_known = ids != UNK
    codes = np.full(len(ids) + k - 1, NOT_A_BASE, dtype=np.uint8)
    for place in range(k):
        covered = codes[place : place + len(ids)]
        covered[is_known] = table[ids[is_known], place]
    if not np.array_equal(kmer_ids(codes, k, keep_unknown=True), ids):
        raise ValueError(f"the ids are not {k}-mers that follow one another base by base")
    return codes


def first_break(ids: NDArray[np.uint16], begins: NDArray[np.int64], k: int) -> int | None:
    """Find the first of ids [n] that is no k-mer, or does not follow the one before it base by base.

    UNK follows, and is followed by, anything; the ids at `begins` have none before them.
    """
    number = ids - np.uint16(NUM_SPECIALS)  # of the specials it is large
    is_break = np.zeros(len(ids), dtype=np.bool_)
    is_break[1:] = number[1:] >> 2 != number[:-1] & (4 ** (k - 1) - 1)
    is_break[begins] = False
    if number.max(initial=0) >= 4**k:
        is_unknown = ids == UNK
        is_break[1:] &= ~is_unknown[:-1]
        is_break |= number >= 4**k
        is_break &= ~is_unknown
    return int(is_break.argmax()) if is_break.any() else None


@cache
def base_table(k: int) -> NDArray[np.uint8]:
    """Return the code of each base of each id, uint8 [4^k + 5, k], read-only; 4 for the specials.

    Raises:
        ValueError: k is not in 1..7.
    """
    check_k(k)
    number = np.arange(4**k)
    table = np.full((NUM_SPECIALS + 4**k, k), NOT_A_BASE, dtype=np.uint8)
    for place in range(k):
        table[NUM_SPECIALS:, place] = (number >> 2 * (k - 1 - place)) & 3
    table.flags.writeable = False
    return table


@cache
def reverse_complement_table(k: int) -> NDArray[np.uint16]:
    """Return the id of each id's reverse complement, uint16 [4^k + 5], read-only; specials stay themselves.

    The other strand of ids [n] is `reverse_complement_table(k)[ids[::-1]]`.

    Raises:
        ValueError: k is not in 1..7.
    """
    kmers = base_table(k)[NUM_SPECIALS:]
    # All k-mers end to end, turned round: the k-mers come out in reverse order, each reverse-complemented.
    turned = reverse_complement(kmers.ravel())
    table = np.arange(NUM_SPECIALS + 4**k, dtype=np.uint16)
    table[NUM_SPECIALS:] = kmer_ids(turned, k)[::k][::-1]
    table.flags.writeable = False
    return table
