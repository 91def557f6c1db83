"""Stretches to records, blocks of at most 16,384 bases, and their bytes; after `scan`, before `writer`."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BASES = 16_384

# A stretch as `scan` lists it: where it is in the genome, and where its letters begin in the scratch file.
STRETCH = np.dtype(
    [
        ("contig", "<i4"),  # which contig, or sample of reads
        ("start", "<i8"),  # 0-based, in the contig or read
        ("bases", "<i4"),
        ("overlap", "u1"),  # bases it shares with the part before it
        ("file", "<u2"),  # which of the contig's files
        ("name", "<u2"),  # bytes of its read's name, which stand before its letters; 0 for a contig
        ("scratch", "<i8"),
    ]
)

# A stretch as a reader finds it, a row of a shard's index.
INDEX = np.dtype(
    [
        ("ids_at", "<i8"),  # byte in the tar of its first id
        ("tokens", "<i4"),
        ("soft_at", "<i8"),  # byte in the tar of its soft-mask bits; -1: none of its bases is lower case
        ("component", "<u2"),
    ]
)


def cut_stretches(stretches: NDArray[np.int64], k: int, block: int = BLOCK_BASES) -> NDArray[np.int64]:
    """Cut stretches [m, 2] of more than `block` bases into even parts that share k - 1 bases: int64 [n, 2].

    Every k-mer of a stretch is in exactly one of its parts. All are 0-based half-open, at least k bases long.
    """
    tokens = stretches[:, 1] - stretches[:, 0] - k + 1
    num_parts = -(-tokens // (block - k + 1))
    stretch = np.repeat(np.arange(len(stretches)), num_parts)
    part = np.arange(len(stretch)) - np.repeat(np.cumsum(num_parts) - num_parts, num_parts)
    first = part * tokens[stretch] // num_parts[stretch]
    after = (part + 1) * tokens[stretch] // num_parts[stretch]
    start = stretches[stretch, 0]
    return np.stack([start + first, start + after + k - 1], axis=1)


def gather_records(bases: NDArray[np.integer], block: int = BLOCK_BASES) -> NDArray[np.int64]:
    """Gather stretches of bases [n], each at most `block`, into records, consecutive ones while they fit.

    Returns where each record begins, and n: int64 [num_records + 1].
    """
    assert bases.max(initial=0) <= block  # else the loop would never get past it
    ends = np.concatenate([[0], np.cumsum(bases, dtype=np.int64)])
    begins = [0]
    while begins[-1] < len(bases):
        begins.append(int(np.searchsorted(ends, ends[begins[-1]] + block, side="right")) - 1)
    return np.array(begins, dtype=np.int64)


def random_order(count: int, seed: int, stream: int) -> NDArray[np.int64]:
    """Return a permutation of `count` things, int64 [count], one for each (seed, stream).

    It sorts Philox's raw numbers, which numpy promises for all versions, as it does not for `permutation`.
    """
    raw = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(count)
    return np.argsort(raw, kind="stable")


def array_bytes(array: NDArray[Any]) -> tuple[bytes, int]:
    """Return an array [n] as the bytes of a .npy file, and at which of them its first element is."""
    file = BytesIO()
    np.lib.format.write_array(file, array.astype(array.dtype.newbyteorder("<"), copy=False), version=(1, 0))
    content = file.getvalue()
    return content, len(content) - array.nbytes


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
