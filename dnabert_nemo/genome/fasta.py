"""FASTA in, one contig at a time, as base codes: where `shards` and the splice datasets get their genome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

import dnaio
import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import encode
from dnabert_nemo.genome.source import lines_of, open_by_content, quoted, read_errors

_NUCLEOTIDES = b"ACGTURYSWKMBDHVNacgturyswkmbdhvn"  # IUPAC, ambiguity codes included


@dataclass(frozen=True, eq=False, slots=True)
class Contig:
    """One sequence of a FASTA file."""

    name: str  # the first word of the header
    codes: NDArray[np.uint8]  # [length], read-only; see `alphabet`
    source: Path  # the file it came from


def read_fasta(path: str | Path) -> Iterator[Contig]:
    """Read the contigs of one FASTA file in file order, holding one at a time.

    Plain, gzip and bgzip are told apart by content; lines may have any width and any line ending.

    Raises:
        FormatError: at the first step, if the file is missing, empty, damaged or not FASTA; at a contig with
            no sequence, no name, a name seen before, or a letter that is no IUPAC nucleotide.
    """
    return read_fastas([path])


def read_fastas(paths: Iterable[str | Path]) -> Iterator[Contig]:
    """Read the contigs of several FASTA files as `read_fasta` does; no two may share a name.

    Raises:
        FormatError: as `read_fasta`; for a file given twice; for a name seen twice, with both files.
    """
    source_of: dict[str, Path] = {}
    for path in map(Path, paths):
        if path in source_of.values():
            raise FormatError(path, "this file is given twice: name it once")
        num_before = len(source_of)
        for header, sequence in _records(path):
            number = len(source_of) - num_before
            name = (header.split(maxsplit=1) or [""])[0]
            if problem := _problem(name, sequence, path, source_of.get(name)):
                raise FormatError(path, problem, line=_header_line(path, number))
            letters = sequence.encode("ascii")
            if letters.translate(None, delete=_NUCLEOTIDES):
                raise _not_nucleotides(path, number, name)
            source_of[name] = path
            codes = encode(letters)
            del sequence, letters  # each as large as the codes, and not needed while the contig is in use
            yield Contig(name, codes, path)


def _problem(name: str, sequence: str, path: Path, earlier: Path | None) -> str | None:
    if not name:
        return "a header without a name: write '>NAME'"
    if earlier is not None:
        where = "in this file twice" if earlier == path else f"also in {earlier}"
        return f"contig {name!r} is {where}: give every contig a name of its own"
    if not sequence:
        return f"contig {name!r} has a header but no sequence: add its bases or remove the header"
    return None


def _records(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (header without '>', sequence) of each record."""
    with read_errors(path):
        try:
            with dnaio.open(path, fileformat="fasta", opener=open_by_content) as reader:
                yield from map(attrgetter("name", "sequence"), reader)  # a loop would hold on to its record
                is_empty = reader.number_of_records == 0
        except (dnaio.FastaFormatError, UnicodeDecodeError):
            raise _not_fasta(path) from None
    if is_empty:
        raise FormatError(path, "empty, no FASTA record in it: give a file of '>NAME' headers and sequences")


def _not_fasta(path: Path) -> FormatError:
    """Find the line that dnaio stumbled over: text before the first header, or a letter outside ASCII."""
    has_header = False
    for line, text in lines_of(path):
        has_header = has_header or text.lstrip().startswith(">")
        if not text.isascii():
            return FormatError(path, f"not FASTA: {quoted(text)} is not plain ASCII text", line=line)
        if not has_header and text.strip() and not text.lstrip().startswith("#"):
            problem = f"not FASTA: a record starts with a '>NAME' header, but here stands {quoted(text)}"
            return FormatError(path, problem, line=line)
    raise AssertionError(f"{path} changed while it was read")


def _header_line(path: Path, number: int) -> int:
    """Find the line of the header of record `number` (from 0): dnaio's records do not carry it."""
    headers = (line for line, text in lines_of(path) if text.lstrip().startswith(">"))
    return next(islice(headers, number, None))


def _not_nucleotides(path: Path, number: int, name: str) -> FormatError:
    for line, text in islice(lines_of(path), _header_line(path, number), None):
        wrong = text.strip().encode("latin-1").translate(None, delete=_NUCLEOTIDES).decode("latin-1")
        if wrong and not text.startswith("#"):
            problem = (
                f"contig {name!r} holds {wrong[0]!r}, no nucleotide: use ACGT, N or another IUPAC letter"
            )
            return FormatError(path, problem, line=line)
    raise AssertionError(f"{path} changed while it was read")
