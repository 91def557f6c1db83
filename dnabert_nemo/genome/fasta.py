"""FASTA in, as a stream of pieces or contig by contig: where `shards` and the splice datasets get their genome.

The reader is our own because of memory alone: libraries hold a record whole, and one of 250 million bases takes over a
gigabyte on its way into a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import encode
from dnabert_nemo.genome.pieces import PIECE_LETTERS, Piece
from dnabert_nemo.genome.source import Source, quoted

NUCLEOTIDES = b"ACGTURYSWKMBDHVNacgturyswkmbdhvn"  # IUPAC, ambiguity codes included
_BLANKS = b"\n \t\v\f"
_WRONG = re.compile(rb"[^" + NUCLEOTIDES + _BLANKS + rb"]")
_LONGEST_HEADER = 1 << 16

Names = Literal["first_word", "header"]


@dataclass(frozen=True, eq=False, slots=True)
class Contig:
    """One sequence of a FASTA file."""

    name: str  # the first word of the header
    codes: NDArray[np.uint8]  # [length], read-only; see `alphabet`
    source: Path  # the file it came from


def read_fasta(path: str | Path) -> Iterator[Contig]:
    """Read the contigs of one FASTA file in file order, holding one at a time.

    Packed or plain is told apart by content; lines may have any width and any line ending.

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
        for name, line, codes in _whole(Source(path)):
            if name in source_of:
                problem = f"contig {name!r} is also in {source_of[name]}: give every contig a name of its own"
                raise FormatError(path, problem, line=line)
            source_of[name] = path
            yield Contig(name, codes, path)


def _whole(source: Source) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    """Yield (name, line of the header, codes) of each contig, gathered from its pieces."""
    reader = _Reader(source, "first_word", PIECE_LETTERS)
    name, line, parts = "", 0, list[NDArray[np.uint8]]()
    for piece in reader.pieces():
        if piece.start == 0 and parts:
            yield name, line, _joined(parts)
            parts = []
        name, line = piece.name, reader.header_line
        parts.append(encode(piece.letters))
    yield name, line, _joined(parts)


def _joined(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    codes = parts[0] if len(parts) == 1 else np.concatenate(parts)
    codes.flags.writeable = False
    return codes


def fasta_pieces(
    source: Source, names: Names = "first_word", piece_letters: int = PIECE_LETTERS
) -> Iterator[Piece]:
    """Read one FASTA file once, in pieces of at most `piece_letters`; `names` says what of a header is the name.

    Raises:
        FormatError: as `read_fasta`.
    """
    return _Reader(source, names, piece_letters).pieces()


class _Reader:
    """Walks over blocks of the file; where it is, it knows by the line, for the errors."""

    def __init__(self, source: Source, names: Names, piece_letters: int) -> None:
        self.source, self.names, self.block = source, names, piece_letters
        self.line = 1  # of the next byte
        self.lines_of_names: dict[str, int] = {}
        self.name: str | None = None  # of the contig being read
        self.header_line = 0
        self.length = 0  # letters of it so far

    def pieces(self) -> Iterator[Piece]:
        with self.source.open() as stream:
            left = b""
            at_line_start = True
            for block in _blocks(stream, self.block):
                text = left + block
                if left and b"\n" not in block and len(text) > _LONGEST_HEADER:
                    raise self._error(f"a header or comment of over {_LONGEST_HEADER} letters: shorten it")
                left = b""
                marks = _Marks(text)
                at = 0
                while at < len(text):
                    if at_line_start and text[at] in b">#;":
                        end = text.find(b"\n", at)
                        if end < 0:
                            left = text[at:]
                            break
                        self._header(text[at:end])
                        at = end + 1
                        continue
                    # up to the next header or comment, or to the end of the block
                    end = marks.next(at)
                    letters = self._letters(text[at:end])
                    at_line_start = text[end - 1] == _NEWLINE
                    at = end
                    # a header that had to be completed makes the text longer than a piece may be
                    for first in range(0, len(letters), self.block):
                        part = letters[first : first + self.block]
                        assert self.name is not None
                        yield Piece(self.name, self.length, part)
                        self.length += len(part)
            if left:
                self._header(left)
        self._end_contig()
        if not self.lines_of_names:
            problem = "empty, no FASTA record in it: give a file of '>NAME' headers and sequences"
            raise FormatError(self.source.path, problem)

    def _header(self, text: bytes) -> None:
        """Take a header, or pass over a comment."""
        line, self.line = self.line, self.line + 1
        if text[:1] != b">":
            return
        self._end_contig()
        if not text.isascii():
            raise self._error(f"not FASTA: {quoted(text.decode('latin-1'))} is not plain ASCII text", line)
        header = text[1:].decode("ascii").strip()
        name = header if self.names == "header" else (header.split(maxsplit=1) or [""])[0]
        if not name:
            raise self._error("a header without a name: write '>NAME'", line)
        earlier = self.lines_of_names.setdefault(name, line)
        if earlier != line:
            remedy = "give every contig a name of its own"
            if self.names == "first_word":
                remedy += ", or where whole headers differ, set names: header for this assembly in a corpus"
            problem = f"contig {name!r} is in this file twice, first in line {earlier}: {remedy}"
            raise self._error(problem, line)
        self.name, self.header_line, self.length = name, line, 0

    def _end_contig(self) -> None:
        if self.name is not None and not self.length:
            problem = f"contig {self.name!r} has a header but no sequence: add its bases or remove the header"
            raise self._error(problem, self.header_line)

    def _letters(self, text: bytes) -> bytes:
        """Take lines of sequence apart from their ends."""
        letters = text.translate(None, _BLANKS)
        if letters and (self.name is None or letters.translate(None, NUCLEOTIDES)):
            raise self._not_sequence(text)
        self.line += text.count(b"\n")
        return letters

    def _not_sequence(self, text: bytes) -> FormatError:
        if self.name is None:
            before = len(text) - len(text.lstrip(_BLANKS))
            problem = f"a record starts with a '>NAME' header, but here stands {_line_at(text, before)}"
            return self._error(f"not FASTA: {problem}", self.line + text.count(b"\n", 0, before))
        wrong = _WRONG.search(text)
        assert wrong is not None
        line = self.line + text.count(b"\n", 0, wrong.start())
        if not wrong[0].isascii():
            return self._error(f"not FASTA: {_line_at(text, wrong.start())} is not plain ASCII text", line)
        problem = f"contig {self.name!r} holds {chr(wrong[0][0])!r}, no nucleotide"
        return self._error(f"{problem}: use ACGT, N or another IUPAC letter", line)

    def _error(self, problem: str, line: int | None = None) -> FormatError:
        return FormatError(self.source.path, problem, line=self.line if line is None else line)


_NEWLINE = ord("\n")


class _Marks:
    """Where lines begin that are no sequence; each kind is looked for again only once it is passed."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.found = dict.fromkeys((b"\n>", b"\n#", b"\n;"), -1)

    def next(self, at: int) -> int:
        """Return the first such place after `at`, or the end of the text."""
        for mark, place in self.found.items():
            if place <= at:
                found = self.text.find(mark, at) + 1
                self.found[mark] = found or len(self.text)
        return min(self.found.values())


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the text in blocks of about `size`, each line ended by a line feed: CR LF and CR alone become one."""
    carried = b""
    while block := stream.read(size):
        block = carried + block
        carried = b""
        if b"\r" in block:
            if block.endswith(b"\r"):  # its line feed may begin the next block
                block, carried = block[:-1], b"\r"
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if block:
            yield block
    if carried:
        yield b"\n"


def _line_at(text: bytes, place: int) -> str:
    first = text.rfind(b"\n", 0, place) + 1
    last = text.find(b"\n", place)
    return quoted(text[first : last if last >= 0 else len(text)].decode("latin-1"))
