"""Stretches to records, blocks of at most 16,384 bases, and their bytes; after `scan`, before `writer`."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.shards.manifest import ContigEntry

BLOCK_BASES = 16_384

# A stretch as `scan` lists it: where it is in the genome, and where its base codes begin in the scratch file.
STRETCH = np.dtype([("contig", "<i8"), ("start", "<i8"), ("bases", "<i8"), ("scratch", "<i8")])


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


def gather_records(bases: NDArray[np.int64], block: int = BLOCK_BASES) -> NDArray[np.int64]:
    """Gather stretches of bases [n], each at most `block`, into records, consecutive ones while they fit.

    Returns where each record begins, and n: int64 [num_records + 1].
    """
    assert bases.max(initial=0) <= block  # else the loop would never get past it
    ends = np.concatenate([[0], np.cumsum(bases)])
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


def array_bytes(ids: NDArray[np.uint16]) -> tuple[bytes, int]:
    """Return ids [n] as the bytes of a .npy file, and at which of them the first id is."""
    file = BytesIO()
    np.lib.format.write_array(file, ids.astype("<u2", copy=False), version=(1, 0))
    content = file.getvalue()
    return content, len(content) - ids.nbytes


def description_bytes(stretches: NDArray[np.void], contigs: dict[int, ContigEntry], k: int) -> bytes:
    """Return the JSON of a record: of each stretch its place among the ids and its place in the genome."""
    rows = []
    offset = 0
    for contig, start, bases, _ in stretches.tolist():
        tokens = bases - k + 1
        entry = contigs[contig]
        rows.append(
            {
                "offset": offset,
                "tokens": tokens,
                "contig": entry.name,
                "start": start,
                "end": start + bases,
                "strand": "+",
                "source": entry.source,
            }
        )
        offset += tokens
    return json.dumps({"k": k, "stretches": rows}, separators=(",", ":")).encode()
