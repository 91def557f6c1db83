"""Windows of held-out sequence that training has seen most of: what a split by chromosome still leaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import encode
from dnabert_nemo.kmer.canonical import canonical_kmers, distinct

LEAK_K = 31


def shares_in(windows: Sequence[str], others: Sequence[str], k: int = LEAK_K) -> NDArray[np.float64]:
    """Return, for each of n windows, the share of its distinct k-mers that any of `others` has: [n].

    Either strand counts; a window shorter than k has none, and shares nothing.
    """
    known = distinct(np.concatenate([canonical_kmers(encode(other), k) for other in others] or [_NONE]))
    shares = np.zeros(len(windows))
    for i, window in enumerate(windows):
        own = distinct(canonical_kmers(encode(window), k))
        if len(own) and len(known):
            at = np.minimum(np.searchsorted(known, own), len(known) - 1)
            shares[i] = (known[at] == own).mean()
    return shares


_NONE = np.empty(0, dtype=np.uint64)
