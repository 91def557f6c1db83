"""A row of a table, and the columns that are read of it: what `table_csv` and `table_parquet` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.source import quoted

_LONGEST_NUMBER = 18  # digits


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One row of a table."""

    path: str | Path
    unit: str  # what `number` counts: "line" or "row"
    number: int  # from 1
    cells: dict[str, str | int]  # by column, all but the sequence
    sequence: memoryview  # its letters, not checked

    def error(self, problem: str) -> FormatError:
        if self.unit == "line":
            return FormatError(self.path, problem, line=self.number)
        return FormatError(self.path, f"row {self.number}: {problem}")

    def text(self, column: str) -> str:
        """Return a cell that is not empty.

        Raises:
            FormatError: it is.
        """
        text = str(self.cells[column])
        if not text.strip():
            raise self.error(f"nothing in column {column!r}: fill it in every row")
        return text

    def whole_number(self, column: str) -> int:
        """Return a cell as a number.

        Raises:
            FormatError: it holds anything else.
        """
        digits = self.text(column).strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_NUMBER):
            raise self.error(f"{quoted(digits)} in column {column!r} is not a whole number: correct it")
        return int(digits)


def columns_there(
    path: str | Path, header: list[str], required: Sequence[str], optional: Sequence[str]
) -> list[str]:
    """Return the columns to read: those required, and those optional ones that are there.

    Raises:
        FormatError: one is missing, or there twice.
    """
    for name in required:
        if name not in header:
            there = ", ".join(map(repr, header))
            raise FormatError(
                path, f"no column {name!r} among {there}: rename it, or name another in the config"
            )
    names = list(dict.fromkeys([*required, *(name for name in optional if name in header)]))
    for name in names:
        if header.count(name) > 1:
            raise FormatError(path, f"two columns are named {name!r}: rename one")
    return names
