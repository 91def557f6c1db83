"""Labelled sequences as others publish them, tables and FASTA: `prepare_task` makes a data set of them.

A file may be plain or packed, as `genome.source` reads it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.fasta import fasta_pieces
from dnabert_nemo.genome.source import Source, quoted

T = TypeVar("T")

COLUMNS = ("sequence", "label")  # of a table, wherever they stand; others are not read


class Example(NamedTuple):
    """One labelled sequence, as its file has it."""

    sequence: str  # not checked
    label: str
    path: Path
    place: int | str  # its line, from 1, or the header of its record

    def error(self, problem: str) -> FormatError:
        """Return an error that tells where the example stands."""
        if isinstance(self.place, int):
            return FormatError(self.path, problem, line=self.place)
        return FormatError(self.path, f"record {quoted(self.place.strip())}: {problem}")


def read_table(path: Path) -> tuple[list[Example], str]:
    """Read a table with the columns COLUMNS, commas or tabs between them, and its sha256.

    A sequence may be written as DNABERT's own files have it, as overlapping k-mers with blanks between them.

    Raises:
        FormatError: it is missing, no table in UTF-8, lacks a column, or has no row; a row has more or fewer
            cells than there are columns, an empty one, or words that do not overlap as k-mers.
    """
    source = Source(path)
    with source.open() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        examples = list(_rows(path, text))
    return examples, source.sha256


def read_fasta_class(path: Path, label: str) -> tuple[list[Example], str]:
    """Read the sequences of a FASTA file, all of one label, and the file's sha256.

    Raises:
        FormatError: as `fasta_pieces`; two records of a file may not have the same header.
    """
    source = Source(path)
    found: list[tuple[str, list[bytes]]] = []
    for piece in fasta_pieces(source, names="header"):
        if piece.start == 0:
            found.append((piece.name, []))
        found[-1][1].append(piece.letters)
    return [Example(b"".join(parts).decode(), label, path, name) for name, parts in found], source.sha256


def _rows(path: Path, text: io.TextIOWrapper) -> Iterator[Example]:
    header_line = _read(path, text.readline, 1)
    delimiter = "\t" if "\t" in header_line else ","
    header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
    for name in COLUMNS:
        if header.count(name) != 1:
            problem = f"{header.count(name)} columns named {name!r} among {quoted(', '.join(header))}"
            raise FormatError(path, f"{problem}: name the columns {' and '.join(COLUMNS)}", line=1)
    at = [header.index(name) for name in COLUMNS]
    csv.field_size_limit(2**31 - 1)  # a sequence may have more than the 131,072 letters of the module's own
    table, is_empty = csv.reader(text, delimiter=delimiter, strict=True), True
    while True:
        first = table.line_num + 2
        cells = _read(path, lambda: next(table, None), first)
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problem = f"{len(cells)} cells, but {len(header)} column names: correct the row"
            raise FormatError(path, problem, line=first)
        sequence, label = (cells[place].strip() for place in at)
        example = Example(sequence, label, path, first)
        for name, cell in zip(COLUMNS, (sequence, label), strict=True):
            if not cell:
                raise example.error(f"nothing in column {name!r}: fill it, or leave the row out")
        is_empty = False
        yield example._replace(sequence=_joined_kmers(example)) if " " in sequence else example
    if is_empty:
        raise FormatError(path, "no row in it: give a table that has some")


def _read(path: Path, read: Callable[[], T], line: int) -> T:
    """Call what reads on in a table, and tell of what is no table."""
    try:
        return read()
    except UnicodeDecodeError:
        raise FormatError(path, "not UTF-8 text: save the table in UTF-8", line=line) from None
    except csv.Error as error:
        raise FormatError(path, f"not a table ({error}): save it as CSV or TSV again", line=line) from None


def _joined_kmers(example: Example) -> str:
    """Turn overlapping k-mers, ATC TCG CGA, into the letters they were made of, ATCGA."""
    words = example.sequence.split()
    for word, after in pairwise(words):
        if len(after) != len(word) or word[1:] != after[:-1]:
            problem = f"{quoted(f'{word} {after}')} are no k-mers one base apart"
            raise example.error(f"{problem}: write the sequence as letters without blanks")
    return words[0] + "".join(word[-1] for word in words[1:])
