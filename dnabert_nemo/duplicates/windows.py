"""The windows of FASTA files: a table of where they are, and their bases as a stream; before `signatures`.

A file is read as often as its windows are asked for, so no more than a window and a piece is ever in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import NOT_A_BASE, encode
from dnabert_nemo.genome.fasta import Names, fasta_pieces
from dnabert_nemo.genome.source import Source

# One row a window, in the order of the input: file by file, contig by contig, from left to right.
WINDOW = np.dtype([("file", "<u4"), ("contig", "<u4"), ("start", "<i8"), ("bases", "<i8")])
_ROWS = 1 << 16  # read at once
_CONTIGS = 1 << 12  # listed at once
_BASES = b"ACGTacgt"


@dataclass(frozen=True)
class ListJob:
    """All that listing the windows of one file takes, in any process."""

    file: int  # its number among the inputs
    path: str
    names: Names
    window: int | None  # bases; None: every unbroken stretch is one window
    min_stretch: int  # bases; shorter stretches are left out
    table: Path  # gets the windows; the names of contigs go beside it


@dataclass(frozen=True)
class ListedFile:
    """What one file holds."""

    name: str
    sha256: str
    num_contigs: int
    num_windows: int
    num_bases: int  # in windows
    num_short_bases: int
    num_not_bases: int
    longest: tuple[int, int]  # bases of its two longest windows


def cut_windows(
    stretches: NDArray[np.int64], window: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut stretches [m, 2] end to end into windows of at most `window` bases, as equal as can be.

    Returns the windows, int64 [n, 2], and which stretch each is of, int64 [n].

    Read from its other strand a stretch is cut at the same places (an odd base apart, where an even number of
    windows must share an odd number of bases), so a whole contig is found again as its reverse complement.
    """
    if window is None or not len(stretches):
        return stretches, np.arange(len(stretches))
    lengths = stretches[:, 1] - stretches[:, 0]
    parts = -(-lengths // window)
    size, left_over = np.divmod(lengths, parts)
    stretch = np.repeat(np.arange(len(stretches)), parts)
    first = np.cumsum(parts) - parts
    place = np.arange(len(stretch)) - first[stretch]
    parts, size, left_over = parts[stretch], size[stretch], left_over[stretch]
    at_ends = (place < left_over // 2) | (place >= parts - left_over // 2)
    in_the_middle = (left_over % 2 == 1) & (place == (parts - 1) // 2)
    bases = size + at_ends + in_the_middle
    before = np.cumsum(bases) - bases
    start = before + (stretches[:, 0] - before[first])[stretch]
    return np.stack([start, start + bases], axis=1), stretch


def list_windows(job: ListJob) -> ListedFile:
    """List the windows of one file, reading it once.

    Raises:
        FormatError: it cannot be read as FASTA.
    """
    source = Source(job.path)
    contigs = _contigs(source, job.names)
    num_contigs = num_windows = num_bases = short_bases = not_bases = 0
    longest = [0, 0]
    with open(job.table, "wb") as table, open(_names_file(job.table), "wb") as names:
        while batch := list(islice(contigs, _CONTIGS)):
            names.write("".join(f"{contig.name}\n" for contig in batch).encode())
            edges = np.array([edge for contig in batch for edge in contig.edges], dtype=np.int64)
            number = num_contigs + np.repeat(np.arange(len(batch)), [len(one.edges) // 2 for one in batch])
            stretches = edges.reshape(-1, 2)
            lengths = stretches[:, 1] - stretches[:, 0]
            is_long = lengths >= job.min_stretch
            windows, stretch = cut_windows(stretches[is_long], job.window)
            rows = np.zeros(len(windows), dtype=WINDOW)
            rows["file"], rows["contig"] = job.file, number[is_long][stretch]
            rows["start"], rows["bases"] = windows[:, 0], windows[:, 1] - windows[:, 0]
            table.write(rows.tobytes())
            longest = sorted([*longest, *np.sort(rows["bases"])[-2:].tolist()])[-2:]
            num_contigs += len(batch)
            num_windows += len(rows)
            num_bases += int(rows["bases"].sum())
            short_bases += int(lengths[~is_long].sum())
            not_bases += sum(contig.length for contig in batch) - int(lengths.sum())
    return ListedFile(
        name=source.name,
        sha256=source.sha256,
        num_contigs=num_contigs,
        num_windows=num_windows,
        num_bases=num_bases,
        num_short_bases=short_bases,
        num_not_bases=not_bases,
        longest=(longest[0], longest[1]),
    )


@dataclass
class _Contig:
    name: str
    length: int = 0
    edges: list[int] = field(default_factory=list)  # where unbroken stretches begin and end, in turn


def _contigs(source: Source, names: Names) -> Iterator[_Contig]:
    contig: _Contig | None = None
    for piece in fasta_pieces(source, names):
        if contig is None or piece.start == 0:
            if contig is not None:
                yield _ended(contig)
            contig = _Contig(piece.name)
        in_stretch = len(contig.edges) % 2 == 1
        if piece.letters.translate(None, delete=_BASES):
            is_base = np.empty(len(piece.letters) + 1, dtype=np.bool_)
            is_base[0] = in_stretch
            np.not_equal(encode(piece.letters), NOT_A_BASE, out=is_base[1:])
            contig.edges += (piece.start + np.flatnonzero(is_base[1:] != is_base[:-1])).tolist()
        elif not in_stretch:  # the way of most pieces, and of all reads
            contig.edges.append(piece.start)
        contig.length = piece.start + len(piece.letters)
    if contig is not None:
        yield _ended(contig)


def _ended(contig: _Contig) -> _Contig:
    if len(contig.edges) % 2:
        contig.edges.append(contig.length)
    return contig


def window_codes(path: str, names: Names, windows: Iterable[NDArray[np.void]]) -> Iterator[NDArray[np.uint8]]:
    """Yield the base codes of some windows of one file, in their order, reading it once.

    The windows are given as tables one after the other, WINDOW [n] each.
    """
    wanted = (row for table in windows for row in table[["contig", "start", "bases"]].tolist())
    row = next(wanted, None)
    contig = -1
    parts: list[NDArray[np.uint8]] = []  # of the window at hand
    for piece in fasta_pieces(Source(path), names):
        if row is None:
            return
        contig += piece.start == 0
        codes = encode(piece.letters)
        ends = piece.start + len(codes)
        while row is not None and row[0] == contig and row[1] < ends:
            _, start, bases = row
            parts.append(codes[max(start - piece.start, 0) : start + bases - piece.start])
            if start + bases > ends:
                break
            yield np.concatenate(parts) if len(parts) > 1 else parts[0]
            parts = []
            row = next(wanted, None)


def read_windows(table: Path, first: int, after: int) -> Iterator[NDArray[np.void]]:
    """Yield windows first .. after of a table, WINDOW [n] at a time; not mapped, to keep memory small."""
    for begin in range(first, after, _ROWS):
        count = min(_ROWS, after - begin)
        yield np.fromfile(table, dtype=WINDOW, count=count, offset=begin * WINDOW.itemsize)


class ContigNames:
    """The names of the contigs of one file, left on disk."""

    def __init__(self, table: Path) -> None:
        with open(_names_file(table), "rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        is_end = np.frombuffer(self._text, dtype=np.uint8) == ord("\n")
        self._ends: NDArray[np.int64] = np.flatnonzero(is_end)

    def __getitem__(self, contig: int) -> str:
        first = int(self._ends[contig - 1]) + 1 if contig else 0
        return self._text[first : int(self._ends[contig])].decode()

    def __len__(self) -> int:
        return len(self._ends)


def _names_file(table: Path) -> Path:
    return table.with_suffix(".names")
