"""A sample sheet in: a CSV with the FASTQ files and the labels of each sample, as NASA's OSDR has it.

`fastq` reads the samples it returns.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.fastq import ReadSample
from dnabert_nemo.genome.source import Source

_FACTOR, _FACTOR_END = "Factor Value[", "]"


@dataclass(frozen=True)
class SheetColumns:
    """The names of the columns of a sample sheet; by default those of a GeneLab runsheet.

    Raises:
        ConfigError: if `labels` is no list.
    """

    sample: str = "Sample Name"
    read1: str = "read1_path"
    read2: str | None = "read2_path"  # None: read single reads even where mates are listed
    labels: tuple[str, ...] | None = None  # None: every column "Factor Value[NAME]"; a label is named NAME

    def __post_init__(self) -> None:
        if not isinstance(self.labels, tuple | list | None):
            raise ConfigError(f"labels={self.labels}: give a list of columns, labels=[{self.labels}]")


@dataclass
class _Lanes:
    """What the rows of one sample say."""

    line: int  # of its first row
    labels: dict[str, str]
    files: list[str] = field(default_factory=list)
    mates: list[str] = field(default_factory=list)


def read_sample_sheet(
    path: str | Path, columns: SheetColumns | None = None, files_dir: str | Path | None = None
) -> list[ReadSample]:
    """Read the samples of a CSV sheet in the order of their first rows; several rows of one sample are lanes.

    Relative paths start at `files_dir`, else at the folder of the sheet. URLs stay as they are.

    Raises:
        FormatError: if the sheet is missing, no CSV in UTF-8, lacks a column or a sample; with its line, for
            a row without sample, file or label, a file that is missing or listed twice, a label that
            contradicts an earlier lane's, or mates listed for some lanes of a sample only.
    """
    columns = columns or SheetColumns()
    folder = Path(path).parent if files_dir is None else Path(files_dir)
    rows = _rows(path)
    header = [column.strip() for column in next(rows)[1]]
    read2 = _mate_column(header, columns)
    labels = _label_columns(header, columns.labels, path)
    wanted = [columns.sample, columns.read1, *labels.values()]
    for column in [*wanted, read2] if read2 else wanted:
        _check_column(column, header, path)

    sheet: dict[str, _Lanes] = {}
    line_of: dict[str, int] = {}  # of each file
    for line, cells in rows:
        row = _Row(path, line, dict(zip(header, cells, strict=True)))
        name = row.required(columns.sample)
        row_labels = {label: row.required(column) for label, column in labels.items()}
        lanes = sheet.setdefault(name, _Lanes(line, row_labels))
        row.check_labels(name, row_labels, lanes)
        lanes.files.append(row.file(columns.read1, folder, line_of))
        if read2 and row.cells[read2].strip():
            lanes.mates.append(row.file(read2, folder, line_of))
        if len(lanes.mates) not in (0, len(lanes.files)):
            raise row.error(
                f"sample {name!r} has mates ({read2}) in some of its rows only: fill the column in all of "
                "them or in none"
            )
    if not sheet:
        raise FormatError(path, "no sample in it: write a row for each below the column names")
    return [ReadSample(name, tuple(s.files), tuple(s.mates), s.labels) for name, s in sheet.items()]


@dataclass(frozen=True)
class _Row:
    path: str | Path
    line: int
    cells: Mapping[str, str]

    def error(self, problem: str) -> FormatError:
        return FormatError(self.path, problem, line=self.line)

    def required(self, column: str) -> str:
        if not (cell := self.cells[column].strip()):
            raise self.error(f"nothing in column {column!r}: fill it in every row")
        return cell

    def check_labels(self, name: str, labels: dict[str, str], lanes: _Lanes) -> None:
        for label, value in labels.items():
            if value != lanes.labels[label]:
                raise self.error(
                    f"sample {name!r} has the {label} {value!r} here and {lanes.labels[label]!r} in line "
                    f"{lanes.line}: write the same in all rows of a sample"
                )

    def file(self, column: str, folder: Path, line_of: dict[str, int]) -> str:
        """Resolve the file a cell names, and note it in `line_of`, in which no file may be twice."""
        name = self.required(column)
        is_local = "://" not in name and name != "-"
        file = os.path.normpath(folder / name) if is_local else name
        if is_local and not os.path.exists(file):
            raise self.error(f"{column}: no such file {file}: correct the path, or set files_dir")
        if is_local and os.path.isdir(file):
            raise self.error(f"{column}: {file} is a folder: name the FASTQ file in it")
        key = os.path.realpath(file) if is_local else file
        if key in line_of:
            raise self.error(
                f"{file} is listed a second time (first in line {line_of[key]}): list every file once"
            )
        line_of[key] = self.line
        return file


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of the header and every other row that is not blank, all as wide as the header."""
    with Source(path).open() as stream:
        content = stream.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(path, "not UTF-8 text: save the sheet as CSV in UTF-8", line=line) from None
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    width, line = 0, 1
    try:
        for cells in table:
            if any(cell.strip() for cell in cells):
                if width and len(cells) != width:
                    problem = f"{len(cells)} cells, but {width} column names: quote a cell that holds a comma"
                    raise FormatError(path, problem, line=line)
                width = width or len(cells)
                yield line, cells
            line = table.line_num + 1
    except csv.Error as error:
        raise FormatError(path, f"not CSV: {error}: save the sheet as CSV again", line=line) from None
    if not width:
        raise FormatError(path, "empty: give a CSV with column names in its first line")


def _mate_column(header: list[str], columns: SheetColumns) -> str | None:
    """Return the column of mates, None for single reads: a sheet of these may do without the default one."""
    may_lack = columns.read2 == SheetColumns.read2
    return None if may_lack and columns.read2 not in header else columns.read2


def _label_columns(header: list[str], wanted: tuple[str, ...] | None, path: str | Path) -> dict[str, str]:
    """Return the column of each label, by the label's name."""
    factors = [c for c in header if c.startswith(_FACTOR) and c.endswith(_FACTOR_END)]
    columns: dict[str, str] = {}
    for column in factors if wanted is None else wanted:
        label = column[len(_FACTOR) : -len(_FACTOR_END)].strip() if column in factors else column
        if columns.setdefault(label, column) != column:
            problem = f"columns {columns[label]!r} and {column!r} both name the label {label!r}: rename one"
            raise FormatError(path, problem)
    return columns


def _check_column(column: str, header: list[str], path: str | Path) -> None:
    if column not in header:
        there = ", ".join(map(repr, header))
        raise FormatError(
            path, f"no column {column!r} among {there}: rename the column, or name it in the config"
        )
    if header.count(column) > 1:
        raise FormatError(path, f"two columns are named {column!r}: rename one")
