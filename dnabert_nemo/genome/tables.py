"""Sequences in tables, Parquet and CSV, as pieces: the RefSeq sets are published so; `shards` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.fasta import NUCLEOTIDES
from dnabert_nemo.genome.pieces import PIECE_LETTERS, Piece
from dnabert_nemo.genome.source import Source
from dnabert_nemo.genome.table_csv import csv_rows
from dnabert_nemo.genome.table_parquet import PARQUET_MAGIC, parquet_rows
from dnabert_nemo.genome.table_rows import Row


@dataclass(frozen=True)
class TableColumns:
    """The names of the columns of a table of sequences; by default those of the RefSeq sets.

    Raises:
        ConfigError: if a name is no text, or `sequence` or `id` has none.
    """

    sequence: str = "sequence"
    id: str = "id"  # the name of the contig
    length: str | None = "seq_length"  # what the sequence is compared with; the default one may be missing
    group: str | None = None  # the component that a row belongs to; None: one for the whole table

    def __post_init__(self) -> None:
        for field in fields(self):
            name = getattr(self, field.name)
            may_lack = field.name in ("length", "group")
            if not (may_lack if name is None else isinstance(name, str) and name):
                raise ConfigError(f"{field.name}={name}: give the name of a column, {field.name}=NAME")

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which a table cannot be read."""
        length = None if self.length == TableColumns.length else self.length
        return tuple(name for name in (self.sequence, self.id, length, self.group) if name is not None)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that are read where they are there."""
        return () if self.length is None or self.length in self.required else (self.length,)


def table_pieces(source: Source, columns: TableColumns) -> Iterator[Piece]:
    """Read the sequences of one table as `grouped_pieces` does, whatever their group."""
    return (piece for _, piece in grouped_pieces(source, columns, ""))


def grouped_pieces(source: Source, columns: TableColumns, default_group: str) -> Iterator[tuple[str, Piece]]:
    """Read one Parquet or CSV file once, a row at a time: (group, piece) in the order of the rows.

    What it is, is told by content. CSV has column names in its first line, is in UTF-8, and may be packed
    and come from a pipe. The groups of rows need not stand together. Parquet has its row groups whole in
    memory: write long sequences with row groups of one row.

    Raises:
        FormatError: with the line or row, for an empty cell, a sequence with a letter that is no IUPAC
            nucleotide or of another length than stated, an id seen before in its group, text that is no CSV;
            without, for a column that is missing or of a type that cannot be, a file without rows,
            unreadable or damaged, or Parquet that is packed or from a pipe.
        ConfigError: if Parquet is to be read and pyarrow is not installed.
    """
    first_of: dict[tuple[str, str], int] = {}
    for row in _rows(source, columns):
        name = row.text(columns.id)
        group = default_group if columns.group is None else row.text(columns.group)
        first = first_of.setdefault((group, name), row.number)
        if first != row.number:
            what = f"{columns.id} {name!r} is in group {group!r} twice, first in {row.unit} {first}"
            raise row.error(f"{what}: give every sequence an id of its own")
        num_letters = len(row.sequence)
        if columns.length is not None and columns.length in row.cells:
            stated = row.whole_number(columns.length)
            if stated != num_letters:
                what = f"{columns.length} is {stated} but {columns.sequence} has {num_letters} letters"
                raise row.error(f"{what}: correct the row, or set columns.length to null")
        if not num_letters:
            raise row.error(f"nothing in column {columns.sequence!r}: fill it or remove the row")
        for start in range(0, num_letters, PIECE_LETTERS):
            letters = bytes(row.sequence[start : start + PIECE_LETTERS])
            if other := letters.translate(None, NUCLEOTIDES):
                place = start + letters.find(other[:1]) + 1
                what = f"{columns.sequence} of {name!r} holds {other[:1].decode('latin-1')!r} at {place}"
                raise row.error(f"{what}, no nucleotide: use ACGT, N or another IUPAC letter")
            yield group, Piece(name, start, letters)
        del row  # before the next one is read: it may be a chromosome


def _rows(source: Source, columns: TableColumns) -> Iterator[Row]:
    with source.open() as stream:
        # a packed Parquet file looks so too, and is refused there, with what it is
        is_parquet = stream.peek(len(PARQUET_MAGIC)).startswith(PARQUET_MAGIC)  # type: ignore[attr-defined]
        if not is_parquet:
            yield from csv_rows(source.path, stream, columns.sequence, columns.required, columns.optional)
    if is_parquet:
        yield from parquet_rows(source, columns.sequence, columns.required, columns.optional)
