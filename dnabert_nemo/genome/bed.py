"""BED in, as intervals of each contig, and what two sets of intervals share; `shards` keeps or drops them."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.source import Source, quoted

Intervals = NDArray[np.int64]  # [n, 2], each row [start, end) with start < end, 0-based

_NO_REGIONS = {"track", "browser"}
_LONGEST_NUMBER = 18  # digits, as int64 holds
_LONGEST_LINE = 1 << 20


def read_bed(path: str | Path) -> dict[str, Intervals]:
    """Read the regions of each contig: rising, and merged where they overlap or touch.

    Columns are parted by tabs, or in a line without a tab by blanks; those after the third are not looked at,
    nor are comments and `track` and `browser` lines. A region with start = end, by which BED marks a place
    between two bases, holds no base and is left out.

    Raises:
        FormatError: with the line, for a row with fewer than three columns, or with a start and end that are
            not whole numbers, negative or the wrong way round; without, if no region is left, or if the file
            is missing or damaged.
    """
    edges_of: dict[str, array[int]] = {}
    with Source(path).open() as stream:
        for line, text in _rows(stream, path):
            contig, start, end = _region(text, path, line)
            if start < end:
                edges_of.setdefault(contig, array("q")).extend((start, end))
    if not edges_of:
        raise FormatError(path, "no region in it: give lines of CONTIG, START and END, or leave the file out")
    return {contig: merged(np.array(edges).reshape(-1, 2)) for contig, edges in edges_of.items()}


def _rows(stream: BinaryIO, path: str | Path) -> Iterator[tuple[int, str]]:
    text = io.TextIOWrapper(stream, encoding="latin-1")
    for line, row in enumerate(iter(lambda: text.readline(_LONGEST_LINE), ""), start=1):
        if len(row) == _LONGEST_LINE:
            raise FormatError(path, f"not BED: the line is longer than {_LONGEST_LINE:,} letters", line=line)
        if row.strip() and not row.startswith("#") and row.split(maxsplit=1)[0] not in _NO_REGIONS:
            yield line, row


def _region(row: str, path: str | Path, line: int) -> tuple[str, int, int]:
    columns = row.split("\t", 3) if "\t" in row else row.split(maxsplit=3)
    if len(columns) < 3:
        problem = f"not BED: {quoted(row)} has no three columns: write CONTIG, START and END, parted by tabs"
        raise FormatError(path, problem, line=line)
    contig, first, after = (column.strip() for column in columns[:3])
    for number in (first, after):
        digits = number.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_NUMBER):
            problem = f"not BED: {quoted(number)} is not a whole number: write CONTIG, START and END"
            raise FormatError(path, problem, line=line)
    if not contig:
        raise FormatError(path, "a region without a contig: write CONTIG, START and END", line=line)
    start, end = int(first), int(after)
    if not 0 <= start <= end:
        problem = f"region from {start} to {end}: BED counts from 0, and the start is not above the end"
        raise FormatError(path, f"{problem}: correct the line", line=line)
    return contig, start, end


def merged(intervals: Intervals) -> Intervals:
    """Sort intervals [n, 2], and join those that overlap or touch."""
    rising = intervals[np.argsort(intervals[:, 0], kind="stable")]
    furthest = np.maximum.accumulate(rising[:, 1])
    is_gap = rising[1:, 0] > furthest[:-1]
    is_any = np.ones(min(len(rising), 1), dtype=np.bool_)
    starts = rising[np.concatenate([is_any, is_gap]), 0]
    return np.stack([starts, furthest[np.concatenate([is_gap, is_any])]], axis=1)


def intersect(runs: Intervals, regions: Intervals) -> Intervals:
    """Return the parts of runs [m, 2] that lie in regions [n, 2], both disjoint and rising: [j, 2], rising.

    Runs that touch stay apart.
    """
    first = np.searchsorted(regions[:, 1], runs[:, 0], side="right")
    after = np.searchsorted(regions[:, 0], runs[:, 1], side="left")
    num_met = np.maximum(after - first, 0)
    run = np.repeat(np.arange(len(runs)), num_met)
    region = np.arange(len(run)) - np.repeat(np.cumsum(num_met) - num_met, num_met) + first[run]
    starts = np.maximum(runs[run, 0], regions[region, 0])
    return np.stack([starts, np.minimum(runs[run, 1], regions[region, 1])], axis=1)


def subtract(runs: Intervals, regions: Intervals) -> Intervals:
    """Return the parts of runs [m, 2] that lie outside regions [n, 2], both disjoint and rising: [j, 2]."""
    limits = np.iinfo(np.int64)
    between = np.concatenate([[limits.min], regions.ravel(), [limits.max]]).reshape(-1, 2)
    return intersect(runs, between[between[:, 0] < between[:, 1]])
