"""A sequence in pieces, so that no chromosome is ever whole in memory: `fasta` and `tables` make them."""

from __future__ import annotations

from dataclasses import dataclass

PIECE_LETTERS = 1 << 22


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of one sequence, in order; a sequence begins where `start` is 0 and ends where the next begins."""

    name: str  # of its contig
    start: int  # 0-based place of the first letter in the contig
    letters: bytes  # IUPAC letters as in the file, case kept; at least one, at most PIECE_LETTERS
