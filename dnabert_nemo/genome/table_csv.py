"""The rows of a CSV table, one in memory at a time, whatever the length of a cell; before `tables`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.fasta import NUCLEOTIDES
from dnabert_nemo.genome.table_rows import Row, columns_there

_LONGEST_HEADER = 1 << 20  # a longer line names no columns, and would be held in memory
_LONGEST_CELL = 2**31 - 1
# csv holds four bytes for each letter of a cell, so it gets the place of a long run instead of the run.
_LONG_RUN = re.compile(b"(?<![%b])[%b]{65536,}+" % (NUCLEOTIDES, NUCLEOTIDES))
_PLACE = re.compile("\0([0-9]+)\0")


def csv_rows(
    path: str | Path, stream: BinaryIO, sequence: str, required: Sequence[str], optional: Sequence[str]
) -> Iterator[Row]:
    """Yield the rows of a CSV table with column names in its first line.

    Raises:
        FormatError: it is not UTF-8 or no CSV, has no rows, or lacks a column.
    """
    csv.field_size_limit(_LONGEST_CELL)
    text = _Lines(path, stream)
    table = csv.reader(text, strict=True)
    header: list[str] = []
    wanted: dict[str, int] = {}
    is_empty = True
    while True:
        line, text.runs = text.number + 1, []
        try:
            cells = next(table, None)
        except csv.Error as error:
            problem = f"not CSV ({error}): save the table as CSV again, with LF or CR LF at the ends of lines"
            raise FormatError(path, problem, line=line) from None
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [name.strip() for name in cells]
            wanted = {name: header.index(name) for name in columns_there(path, header, required, optional)}
            continue
        if len(cells) != len(header):
            problem = f"{len(cells)} cells, but {len(header)} column names: quote a cell that holds a comma"
            raise FormatError(path, problem, line=line)
        is_empty = False
        yield Row(
            path,
            "line",
            line,
            {name: _plain(cells[at], text.runs) for name, at in wanted.items() if name != sequence},
            _letters(cells[wanted[sequence]], text.runs),
        )
        cells, text.runs = None, []  # before the next line is read: it may be a chromosome
    if not header:
        raise FormatError(path, "empty: give a Parquet file, or a CSV with column names in its first line")
    if is_empty:
        raise FormatError(path, "no row in it: give a table that has some")


class _Lines:
    """The lines of a CSV file as text, in which `\\0n\\0` stands for the n-th long run of letters."""

    def __init__(self, path: str | Path, stream: BinaryIO) -> None:
        self.path, self._stream = path, stream
        self.number = 0  # of the last line
        self.runs: list[memoryview] = []  # since it was emptied

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline() if self.number else self._stream.readline(_LONGEST_HEADER)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST_HEADER and self.number == 1:
            problem = "not CSV: its first line names no columns but goes on and on: give Parquet, or a CSV"
            raise FormatError(self.path, problem, line=1)
        if b"\0" in line:
            problem = "not CSV: a zero byte in it: give Parquet, or a CSV in UTF-8"
            raise FormatError(self.path, problem, line=self.number)
        try:
            return _LONG_RUN.sub(self._place, line).decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            problem = "not UTF-8 text: save the table as CSV in UTF-8"
            raise FormatError(self.path, problem, line=self.number) from None

    def _place(self, found: re.Match[bytes]) -> bytes:
        self.runs.append(memoryview(found.string)[found.start() : found.end()])
        return b"\0%d\0" % (len(self.runs) - 1)


def _letters(cell: str, runs: list[memoryview]) -> memoryview:
    if place := _PLACE.fullmatch(cell):
        return runs[int(place[1])]
    return memoryview(_plain(cell, runs).encode())


def _plain(cell: str, runs: list[memoryview]) -> str:
    return _PLACE.sub(lambda place: bytes(runs[int(place[1])]).decode(), cell)
