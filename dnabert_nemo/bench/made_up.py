"""Made-up FASTA of any size, written as a stream: what the benchmarks of data read. Its DNA is random."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xopen import xopen

Letters = NDArray[np.uint8]

_LINE = 60
_PIECE = 60_000 * _LINE  # letters made at once
_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
_LOWER_CASE = np.uint8(ord("a") - ord("A"))
_REPEAT = 400  # mean letters of a lower-case stretch, and between two of them
_GAP = (100, 50_000)  # letters N in a row: one such run in every piece
_SMALL_CONTIG = (500, 10_000)
_SMALL_SHARE, _LARGE_CONTIGS = 0.02, 12

_COPIED, _REACH = 0.05, 256  # share of windows that are copies, and of how many before them
_CHANGED = 0.01  # of the bases of a copy; every other copy is exact


def contig_lengths(bases: int, rng: np.random.Generator) -> list[int]:
    """Return the contigs of a genome: a quarter, twelve that grow shorter, and 2 % in many small ones."""
    first, small = bases // 4, int(bases * _SMALL_SHARE)
    weights = 1 / np.arange(2, 2 + _LARGE_CONTIGS)
    lengths = [first, *((bases - first - small) * weights / weights.sum()).astype(int).tolist()]
    while small > _SMALL_CONTIG[1]:
        lengths.append(int(rng.integers(*_SMALL_CONTIG)))
        small -= lengths[-1]
    return [*lengths, bases - sum(lengths)]


def write_genome(path: str | Path, bases: int, seed: int) -> list[int]:
    """Write a genome as FASTA, gzip at level 1 where the name ends in .gz; return its contigs' lengths.

    Half of it is lower case, and each few megabases have a run of N. Memory is a few megabytes.
    """
    rng = _generator(seed)
    lengths = contig_lengths(bases, rng)
    with xopen(path, "wb", compresslevel=1, threads=0) as file:
        for number, length in enumerate(lengths, start=1):
            file.write(b">contig%d made up\n" % number)
            for first in range(0, length, _PIECE):
                file.write(_lines(_piece(min(_PIECE, length - first), rng)))
    return lengths


def write_windows(path: str | Path, num_windows: int, bases: int, seed: int) -> None:
    """Write windows end to end, a thousand to a contig, one in twenty a copy of one shortly before it.

    Of the copies half are exact and half have 1 % other bases.
    """
    with xopen(path, "wb", compresslevel=1, threads=0) as file:
        contig: list[Letters] = []
        for number, window in enumerate(windows(num_windows, bases, seed), start=1):
            contig.append(window)
            if number % 1000 == 0 or number == num_windows:
                file.write(b">contig%d\n" % number + _lines(np.concatenate(contig)))
                contig = []


def windows(num_windows: int, bases: int, seed: int) -> Iterator[Letters]:
    """Yield windows as letters, uint8 [bases]."""
    rng = _generator(seed)
    before: deque[Letters] = deque(maxlen=_REACH)
    for _ in range(num_windows):
        if before and rng.random() < _COPIED:
            window = before[rng.integers(len(before))].copy()
            if rng.random() < 0.5:
                changed = rng.integers(bases, size=int(bases * _CHANGED))
                window[changed] = _LETTERS[rng.integers(4, size=len(changed))]
        else:
            window = _letters(bases, rng)
        before.append(window)
        yield window


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _letters(count: int, rng: np.random.Generator) -> Letters:
    return _LETTERS[rng.integers(4, size=count, dtype=np.uint8)]


def _piece(length: int, rng: np.random.Generator) -> Letters:
    letters = _letters(length, rng)
    runs = 1 + rng.exponential(_REPEAT, size=2 * (length // (2 * _REPEAT) + 1)).astype(np.int64)
    is_repeat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)[:length]
    letters[: len(is_repeat)] += is_repeat * _LOWER_CASE
    gap = int(rng.integers(*_GAP))
    if length > 10 * gap:
        first = int(rng.integers(length - gap))
        letters[first : first + gap] = ord("N")
    return letters


def _lines(letters: Letters) -> bytes:
    whole = len(letters) - len(letters) % _LINE
    table = np.empty((whole // _LINE, _LINE + 1), dtype=np.uint8)
    table[:, :_LINE] = letters[:whole].reshape(-1, _LINE)
    table[:, _LINE] = ord("\n")
    rest = letters[whole:].tobytes()
    return table.tobytes() + (rest + b"\n" if rest else b"")
