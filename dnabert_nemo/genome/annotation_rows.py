"""The feature rows of GFF3 and GTF files, 0-based half-open; `annotation_file` makes transcripts of them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.annotation import Interval, Strand
from dnabert_nemo.genome.source import Source, quoted

_IS_GTF = re.compile(r'\b(?:gene|transcript)_id "')
_TRANSCRIPT = re.compile(r'\btranscript_id "([^"]*)"')
_GENE = re.compile(r'\bgene_id "([^"]*)"')


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One row, its columns as they stand; what is asked of it is checked then, and told with its line."""

    path: Path
    line: int
    columns: list[str]
    is_gtf: bool

    @property
    def kind(self) -> str:
        """The feature's type."""
        return self.columns[2]

    def placed(self) -> tuple[str, Strand, Interval]:
        """Return the contig, the strand and where on it: [start, end), 0-based.

        Raises:
            FormatError: no numbers, an end before the start, or no strand.
        """
        start, end = self._ends()
        contig = self.columns[0] if self.is_gtf else unquote(self.columns[0])
        match self.columns[6]:
            case "+" | "-" as strand:
                return contig, strand, (start - 1, end)
            case other:
                problem = f"the strand of a feature of type {self.kind} must be + or -, here is {other!r}"
                raise FormatError(self.path, problem, line=self.line)

    def transcripts(self) -> list[str]:
        """Return the identifiers of the transcripts it is a part of.

        Raises:
            FormatError: there is none.
        """
        if self.is_gtf:
            found = _TRANSCRIPT.search(self.columns[8])
            if found and found[1]:
                return [found[1]]
            problem = f'{self.kind} without transcript_id "...": add the identifier of its transcript'
        else:
            parents = [unquote(parent) for parent in self._attribute("Parent").split(",") if parent]
            if parents:
                return parents
            problem = f"{self.kind} without a Parent attribute: add the ID of its transcript"
        raise FormatError(self.path, problem, line=self.line)

    @property
    def is_in_something(self) -> bool:
        """Whether it names a transcript, or in GFF3 any parent."""
        return bool(_TRANSCRIPT.search(self.columns[8]) if self.is_gtf else self._attribute("Parent"))

    @property
    def own_id(self) -> str:
        """GFF3's ID, and of a transcript's row in GTF the transcript's; "" for none."""
        if not self.is_gtf:
            return unquote(self._attribute("ID"))
        found = _TRANSCRIPT.search(self.columns[8]) if self.kind in ("transcript", "mRNA") else None
        return found[1] if found else ""

    @property
    def above_id(self) -> str:
        """What it is in: the first of GFF3's Parent, GTF's gene; "" for none."""
        if not self.is_gtf:
            return unquote(self._attribute("Parent").split(",")[0])
        found = _GENE.search(self.columns[8])
        return found[1] if found else ""

    def _ends(self) -> tuple[int, int]:
        first, last = self.columns[3:5]
        try:
            start, end = int(first), int(last)
        except ValueError:
            problem = f"coordinates {first!r} and {last!r} are not whole numbers"
            raise FormatError(self.path, problem, line=self.line) from None
        if not 1 <= start <= end:
            name = "GTF" if self.is_gtf else "GFF3"
            problem = (
                f"{self.kind} from {start} to {end}: {name} counts from 1, and the start is not above the end"
            )
            raise FormatError(self.path, problem, line=self.line)
        return start, end

    # Not by gffutils: it guesses a dialect for each line, so that `Note=5" end` or a space after a semicolon
    # can end up inside Parent (neither means anything in GFF3), and a whole annotation takes it six times as
    # long.
    def _attribute(self, key: str) -> str:
        """Return the value of `key` in GFF3's ninth column as it stands, escaped, or "" without it."""
        for attribute in self.columns[8].split(";"):
            name, _, value = attribute.strip().partition("=")
            if name == key:
                return value
        return ""


def feature_rows(path: Path) -> Iterator[FeatureRow]:
    """Yield the rows of a GFF3 or GTF file, plain or packed; its first named feature tells which it is.

    Raises:
        FormatError: with the line, if a row lacks columns; if the file is missing or damaged.
    """
    is_gtf: bool | None = None
    with Source(path).open() as stream:
        for line, text in _feature_lines(stream):
            columns = text.rstrip("\r\n").split("\t")
            if len(columns) < 9:
                problem = f"{len(columns)} columns where GFF3 and GTF have 9"
                raise FormatError(path, f"{problem}, separated by tabs: {quoted(text)}", line=line)
            if is_gtf is None and columns[8] not in (".", ""):
                is_gtf = bool(_IS_GTF.search(columns[8])) and not columns[8].startswith(("ID=", "Parent="))
            yield FeatureRow(path, line, columns, bool(is_gtf))


def _feature_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), start=1):
        if text.startswith(("##FASTA", ">")):  # sequence to the end of the file
            return
        if not text.startswith("#") and not text.isspace():
            yield line, text
