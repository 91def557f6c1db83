"""Which tokens stand for a sequence: one of them, or all of its k-mers, whose states are averaged."""

from __future__ import annotations

POOLINGS = ("centre", "cls", "mean")


def pooled(pooling: str, num_kmers: int) -> range:
    """Return the places of what is pooled in CLS, k-mers and SEP: the middle k-mer, CLS, or all k-mers."""
    if pooling == "mean":
        return range(1, 1 + num_kmers)
    at = 0 if pooling == "cls" else 1 + num_kmers // 2
    return range(at, at + 1)
