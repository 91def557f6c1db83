"""Bases as small integers in DNABERT's order A, T, C, G: `fasta` makes them, `kmer` builds ids of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BASES = "ATCG"  # the code is the index; in this order the complement of a base is code ^ 1
NOT_A_BASE = 4  # N, the IUPAC ambiguity codes, and anything else
SOFT = 8  # added to the code of a lower-case letter, where `encode_soft` keeps the case

_CODE_OF_BYTE = bytearray([NOT_A_BASE]) * 256
for _code, _base in enumerate(BASES):
    _CODE_OF_BYTE[ord(_base)] = _CODE_OF_BYTE[ord(_base.lower())] = _code
_SOFT_CODE_OF_BYTE = bytearray(_CODE_OF_BYTE)
for _letter in range(ord("a"), ord("z") + 1):
    _SOFT_CODE_OF_BYTE[_letter] += SOFT
_BYTE_OF_CODE = ((BASES + "N").ljust(SOFT, "?") + (BASES + "N").lower()).encode().ljust(256, b"?")


def encode(sequence: bytes | str) -> NDArray[np.uint8]:
    """Turn a sequence of n letters into its codes, uint8 [n], read-only.

    Upper and lower case are the same; anything but A, C, G and T becomes `NOT_A_BASE`.
    """
    letters = sequence.encode("ascii", "replace") if isinstance(sequence, str) else sequence
    # bytes.translate looks up byte by byte; indexing a numpy table would first widen every index to 8 bytes
    return np.frombuffer(letters.translate(_CODE_OF_BYTE), dtype=np.uint8)


def encode_soft(letters: bytes) -> NDArray[np.uint8]:
    """Turn n letters into their codes, with `SOFT` added to those in lower case: uint8 [n], read-only."""
    return np.frombuffer(letters.translate(_SOFT_CODE_OF_BYTE), dtype=np.uint8)


def decode(codes: NDArray[np.uint8]) -> str:
    """Turn codes [n] into n letters, upper-case ones except where `SOFT` is added; `NOT_A_BASE` becomes N."""
    return codes.tobytes().translate(_BYTE_OF_CODE).decode("ascii")


def reverse_complement(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the codes of the other strand, read in its own direction, uint8 [n]; `NOT_A_BASE` stays."""
    other = codes[::-1] ^ np.uint8(1)
    other[other == NOT_A_BASE ^ 1] = NOT_A_BASE
    return other


def unbroken_stretches(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find the maximal runs without `NOT_A_BASE`: rows [start, end), 0-based, rising, int64 [m, 2]."""
    is_base = np.zeros(len(codes) + 2, dtype=bool)
    np.not_equal(codes, NOT_A_BASE, out=is_base[1:-1])
    edges = np.flatnonzero(is_base[1:] != is_base[:-1])
    return edges.astype(np.int64, copy=False).reshape(-1, 2)
