"""BED in: regions of contigs to keep or to leave out; `shards` cuts its stretches by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.source import Source, quoted

Intervals = NDArray[np.int64]  # [n, 2], rising, disjoint, 0-based half-open
_NOT_REGIONS = (b"#", b"track", b"browser")


def read_bed(path: str | Path) -> dict[str, Intervals]:
    """Read the regions of each contig, merged where they overlap or touch, in rising order.

    Only the first three columns count. A region without a base (start = end) is passed over.

    Raises:
        FormatError: the file is missing or damaged or has no region; with the line, a row is none.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    num_rows = 0
    for line, text in _rows(path):
        columns = text.split(b"\t") if b"\t" in text else text.split()
        num_rows += 1
        if len(columns) < 3:
            problem = f"not BED: {quoted(text.decode('latin-1'))} has not three columns, CONTIG START END"
            raise FormatError(path, f"{problem}: separate them by tabs", line=line)
        try:
            start, end = int(columns[1]), int(columns[2])
        except ValueError:
            problem = (
                f"start and end {quoted(b' '.join(columns[1:3]).decode('latin-1'))} are no whole numbers"
            )
            raise FormatError(path, f"{problem}: give bases counted from 0", line=line) from None
        if not 0 <= start <= end < 1 << 62:
            problem = f"region from {start} to {end}: BED counts from 0, and the end is not below the start"
            raise FormatError(path, f"{problem}: correct the row", line=line)
        regions = found.setdefault(columns[0].strip().decode("utf-8", "replace"), [])
        if start < end:
            regions.append((start, end))
    if not num_rows:
        raise FormatError(path, "no region in it: give rows of CONTIG, START and END")
    return {contig: merged(np.array(rows, np.int64).reshape(-1, 2)) for contig, rows in found.items()}


def merged(intervals: NDArray[np.int64]) -> Intervals:
    """Sort intervals [n, 2] and join those that overlap or touch."""
    if not len(intervals):
        return intervals
    rows = intervals[np.argsort(intervals[:, 0], kind="stable")]
    furthest = np.maximum.accumulate(rows[:, 1])
    is_first = np.concatenate([[True], rows[1:, 0] > furthest[:-1]])
    is_last = np.concatenate([is_first[1:], [True]])
    return np.stack([rows[is_first, 0], furthest[is_last]], axis=1)


def intersect(runs: Intervals, regions: Intervals) -> Intervals:
    """Return the parts of runs [m, 2] that lie in regions [n, 2]; both rising and disjoint."""
    first = np.searchsorted(
        regions[:, 1], runs[:, 0], side="right"
    )  # the first region that ends after the start
    after = np.searchsorted(
        regions[:, 0], runs[:, 1], side="left"
    )  # the first that begins at the end or later
    count = np.maximum(after - first, 0)
    run = np.repeat(np.arange(len(runs)), count)
    region = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count) + first[run]
    start = np.maximum(runs[run, 0], regions[region, 0])
    return np.stack([start, np.minimum(runs[run, 1], regions[region, 1])], axis=1)


def subtract(runs: Intervals, regions: Intervals) -> Intervals:
    """Return the parts of runs [m, 2] that lie outside regions [n, 2]; both rising and disjoint."""
    limits = np.iinfo(np.int64)
    edges = np.concatenate([[limits.min], regions.ravel(), [limits.max]]).reshape(-1, 2)
    return intersect(runs, edges[edges[:, 0] < edges[:, 1]])


def _rows(path: str | Path) -> Iterator[tuple[int, bytes]]:
    with Source(path).open() as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip() and not text.startswith(_NOT_REGIONS):
                yield line, text.rstrip(b"\r\n")
