"""FASTA in, as pieces or contig by contig: where `shards` and the splice datasets get their genome.

The reader is our own because of memory: libraries hold a record whole, as a string, and one of 250 Mb then
peaks at 1.3 GB.
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

Names = Literal["first_word", "header"]

NUCLEOTIDES = b"ACGTURYSWKMBDHVNacgturyswkmbdhvn"  # IUPAC, ambiguity codes included
_BLANK = b" \t"
_COMMENT = re.compile(rb"\n[#;][^\n]*")
_LONGEST_HEADER = 1 << 20  # a longer line is no header, and would be held in memory


@dataclass(frozen=True, eq=False, slots=True)
class Contig:
    """One sequence of a FASTA file."""

    name: str  # the first word of the header
    codes: NDArray[np.uint8]  # [length], read-only; see `alphabet`
    source: Path  # the file it came from


def fasta_pieces(
    source: Source, names: Names = "first_word", piece_letters: int = PIECE_LETTERS
) -> Iterator[Piece]:
    """Read one FASTA file once, in pieces of at most `piece_letters`, whatever the length of its contigs.

    Lines may have any width and end in LF, CR LF or CR. Blank lines, blanks in a line, and comments (lines
    that begin with '#' or ';') are passed over. A contig is named by the first word of its header, or all.

    Raises:
        FormatError: with the line, for text before the first header, a contig without name or sequence, a
            name seen before, or a letter that is no IUPAC nucleotide; without, for an empty or unreadable
            file.
    """
    return filter(None, _Reader(source, names, piece_letters).pieces_and_ends())


def read_fasta(path: str | Path) -> Iterator[Contig]:
    """Read the contigs of one FASTA file in file order, holding one at a time.

    Raises:
        FormatError: as `fasta_pieces`; contigs before the wrong one come first.
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
        reader = _Reader(Source(path), "first_word", PIECE_LETTERS)
        parts: list[NDArray[np.uint8]] = []
        for piece in reader.pieces_and_ends():
            if piece is not None:
                parts.append(encode(piece.letters))
                continue
            name, line = reader.name, reader.header_line
            if name in source_of:
                problem = f"contig {name!r} is also in {source_of[name]}: give every contig a name of its own"
                raise FormatError(path, problem, line=line)
            source_of[name] = path
            codes = parts[0] if len(parts) == 1 else np.concatenate(parts)
            codes.flags.writeable = False
            parts = []
            yield Contig(name, codes, path)


class _Reader:
    """Walks over a file in chunks, and knows the line it is in."""

    def __init__(self, source: Source, names: Names, piece_letters: int) -> None:
        self.source, self.names, self.piece_letters = source, names, piece_letters
        self.name, self.header_line = "", 0  # of the contig being read; no name before the first
        self._num_letters = 0  # of it so far
        self._line_of: dict[str, int] = {}
        self._line = 0  # line breaks so far, with one thought before the first line: the line being read

    def pieces_and_ends(self) -> Iterator[Piece | None]:
        """Yield the pieces, and None at the end of each contig."""
        with self.source.open() as stream:
            for text in self._texts(stream):
                if b"#" in text or b";" in text:
                    text = _COMMENT.sub(b"\n", text)
                # looking for two bytes stops at every line break, for one at none
                first, *blocks = text.split(b"\n>") if b">" in text else [text]
                if letters := self._letters(first):
                    yield self._piece(letters)
                for block in blocks:
                    if self.name:
                        self._check_contig()
                        yield None
                    header_end = block.find(b"\n")
                    self._begin(block if header_end < 0 else block[:header_end])
                    if header_end >= 0 and (letters := self._letters(block[header_end:])):
                        yield self._piece(letters)
        if not self.name:
            problem = "empty, no FASTA record in it: give a file of '>NAME' headers and sequences"
            raise FormatError(self.source.path, problem)
        self._check_contig()
        yield None

    def _texts(self, stream: BinaryIO) -> Iterator[bytes]:
        """Yield the text in parts, none of which ends inside a header or comment, or just before one."""
        held = b"\n"  # so that every header follows a line break, the first one too
        for chunk in _with_line_feeds(stream, self.piece_letters):
            text = held + chunk
            line_break = text.rfind(b"\n")
            if line_break >= 0 and text[line_break + 1 : line_break + 2] in (b"", b">", b"#", b";"):
                text, held = text[:line_break], text[line_break:]
                if len(held) > _LONGEST_HEADER:
                    line = self._line + text.count(b"\n") + 1
                    problem = f"a header or comment of more than {_LONGEST_HEADER:,} letters: shorten it"
                    raise FormatError(self.source.path, problem, line=line)
            else:
                held = b""
            yield text
        yield held

    def _begin(self, header: bytes) -> None:
        self._line += 1
        if not header.isascii() or b"\0" in header:
            problem = (
                f"not FASTA: {quoted('>' + header.decode('latin-1'))} is not plain ASCII text: rename it"
            )
            raise FormatError(self.source.path, problem, line=self._line)
        words = [header.strip()] if self.names == "header" else header.split(None, 1)
        if not words or not words[0]:
            raise FormatError(self.source.path, "a header without a name: write '>NAME'", line=self._line)
        self.name, self.header_line, self._num_letters = words[0].decode(), self._line, 0
        earlier = self._line_of.setdefault(self.name, self._line)
        if earlier != self._line:
            problem = f"contig {self.name!r} is in this file twice, first in line {earlier}"
            remedy = "give every contig a name of its own"
            if self.names == "first_word":
                remedy += ", or set 'names: header' for this assembly where the whole headers differ"
            raise FormatError(self.source.path, f"{problem}: {remedy}", line=self._line)

    def _letters(self, text: bytes) -> bytes:
        """Return the letters of whole lines, or of parts of one."""
        letters = text.replace(b"\n", b"")
        if letters and (other := letters.translate(None, NUCLEOTIDES)):
            if other.strip(_BLANK):
                raise self._no_sequence(text, other.strip(_BLANK)[:1])
            letters = letters.translate(None, _BLANK)
        if letters and not self.name:
            raise self._no_sequence(text, letters[:1])
        self._line += text.count(b"\n")
        return letters

    def _no_sequence(self, text: bytes, wrong: bytes) -> FormatError:
        if not self.name:
            wrong = text.strip(_BLANK + b"\n")[:1]
        place = text.find(wrong)
        line = self._line + text.count(b"\n", 0, place)
        begins = text.rfind(b"\n", 0, place) + 1
        here = quoted(text[begins:].split(b"\n", 1)[0].decode("latin-1"))
        if not self.name:
            problem = f"not FASTA: a record starts with a '>NAME' header, but here stands {here}"
        elif not wrong.isascii():
            problem = f"not FASTA: {here} is not plain ASCII text"
        else:
            letter = wrong.decode()
            problem = (
                f"contig {self.name!r} holds {letter!r}, no nucleotide: use ACGT, N or another IUPAC letter"
            )
        return FormatError(self.source.path, problem, line=line)

    def _piece(self, letters: bytes) -> Piece:
        start, self._num_letters = self._num_letters, self._num_letters + len(letters)
        return Piece(self.name, start, letters)

    def _check_contig(self) -> None:
        if not self._num_letters:
            problem = f"contig {self.name!r} has a header but no sequence: add its bases or remove the header"
            raise FormatError(self.source.path, problem, line=self.header_line)


def _with_line_feeds(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the text in chunks of `size`, with a line feed for each CR LF and each CR alone."""
    held = b""
    while chunk := stream.read(size):
        if held or b"\r" in chunk:
            chunk = held + chunk
            held = b"\r" if chunk.endswith(b"\r") else b""  # its line feed may come next
            chunk = chunk[: len(chunk) - len(held)]
            if chunk.count(b"\r") == chunk.count(b"\r\n"):
                chunk = chunk.replace(b"\r", b"")  # several times as fast as replacing both by one
            else:
                chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield chunk
    if held:
        yield b"\n"
