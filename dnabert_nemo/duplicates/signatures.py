"""What is kept of a window to find its duplicates, an exact key and MinHash bands; `candidates` sorts them.

The MinHash is rensa's R-MinHash (Fast Similarity Sketching, Dahlgaard, Knudsen and Thorup 2017): a signature
of a set of hashes, where each value of two signatures agrees with the probability of the Jaccard similarity
of their sets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.canonical import canonical_kmers, scrambled

MAX_HASHES = 128  # values of a signature: more find rarer similarities at more disk
_MAX_ROWS = 16
BATCH_BASES = 1 << 18  # bases sketched at once, in which a longer window is cut
_COMPLEMENT = bytes([1, 0, 3, 2]).ljust(256)  # of base codes
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Bands:
    """How signatures are compared: two windows meet where all rows of one band agree.

    At similarity s that is the case with probability 1 - (1 - s^rows)^bands.
    """

    rows: int
    bands: int

    def chance_to_meet(self, similarity: float) -> float:
        """Return the probability that two windows of this similarity meet."""
        return 1 - (1 - similarity**self.rows) ** self.bands


def choose_bands(threshold: float, recall: float) -> Bands:
    """Choose the most rows, which part strangers, at which windows at the threshold still meet with `recall`.

    Raises:
        ConfigError: the threshold is too low for the signature.
    """
    for rows in range(_MAX_ROWS, 0, -1):
        met = threshold**rows  # in one band
        bands = 1 if met == 1 else math.ceil(math.log(1 - recall) / math.log1p(-met))
        if rows * bands <= MAX_HASHES:
            return Bands(rows, bands)
    lowest = math.ceil((1 - (1 - recall) ** (1 / MAX_HASHES)) * 1000) / 1000
    raise ConfigError(
        f"max_similarity={threshold} is too low to be found with recall={recall} in signatures of "
        f"{MAX_HASHES} values: pass max_similarity={lowest} or more, or a lower recall"
    )


class Sketcher:
    """Makes the band keys of windows, the same for both strands.

    Raises:
        ConfigError: rensa is not installed.
    """

    def __init__(self, k: int, bands: Bands, seed: int) -> None:
        self.k, self.bands, self.seed = k, bands, seed
        self._rensa = _rensa()
        # rensa goes fastest at powers of two; values past the last band are not used
        self._num_hashes = 1 << math.ceil(math.log2(bands.rows * bands.bands))

    def band_keys(self, windows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint64]:
        """Return the keys of windows of base codes, each of k bases or more: uint64 [num_windows, bands]."""
        if sum(map(len, windows)) <= BATCH_BASES:
            return self._keys(self._signatures(windows))
        return self._keys(np.concatenate([self._long_signature(window) for window in windows]))

    def _long_signature(self, window: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Take the smallest values over parts that overlap by k - 1 bases: time linear, memory one part."""
        parts = (
            window[first : first + BATCH_BASES]
            for first in range(0, len(window) - self.k + 1, BATCH_BASES - self.k + 1)
        )
        signature = self._signatures([next(parts)])
        for part in parts:
            np.minimum(signature, self._signatures([part]), out=signature)
        return signature

    def _signatures(self, windows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint32]:
        hashes = scrambled(canonical_kmers(np.concatenate(windows), self.k), self.seed)
        ends = np.cumsum([len(window) for window in windows])
        # k-mers that begin in one window and end in the next are none of either
        within = np.ones(len(hashes), dtype=np.bool_)
        within[(ends[:-1, None] - np.arange(1, self.k)).ravel()] = False
        offsets = np.zeros(len(windows) + 1, dtype=np.uint64)
        offsets[1:] = ends - np.arange(1, len(windows) + 1) * (self.k - 1)
        matrix = self._rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            hashes[within], offsets, self._num_hashes, self.seed
        )
        return np.array(matrix.to_rows(), dtype=np.uint32)

    def _keys(self, signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
        rows, bands = self.bands.rows, self.bands.bands
        values = signatures[:, : rows * bands].reshape(len(signatures), bands, rows).astype(np.uint64)
        keys = values[:, :, 0]
        for row in range(1, rows):
            keys = scrambled(keys * _MIX + values[:, :, row], row)
        return keys


def exact_key(window: NDArray[np.uint8]) -> tuple[int, int]:
    """Return a window's key of 127 bits, the same for both strands, and below it which strand it was made of.

    BLAKE2b of the strand whose codes come first; in chunks, so that a chromosome is not copied.
    """
    on_other = _other_is_first(window)
    digest = hashlib.blake2b(digest_size=16)
    for chunk in _other_strand(window) if on_other else (window.data,):
        digest.update(chunk)
    high, low = np.frombuffer(digest.digest(), dtype="<u8").tolist()
    return high, (low & ~1) | on_other


def _other_is_first(window: NDArray[np.uint8]) -> bool:
    first = 0
    for other in _other_strand(window):
        here = window[first : first + len(other)].tobytes()
        if here != other:
            return other < here
        first += len(other)
    return False


def _other_strand(window: NDArray[np.uint8]) -> Iterator[bytes]:
    for end in range(len(window), 0, -BATCH_BASES):
        yield window[max(end - BATCH_BASES, 0) : end][::-1].tobytes().translate(_COMPLEMENT)


def rensa_version() -> str:
    """Return the version of the MinHash library.

    Raises:
        ConfigError: it is not installed.
    """
    _rensa()
    return version("rensa")


def _rensa() -> Any:
    try:
        import rensa
    except ImportError:
        raise ConfigError("near-duplicates need rensa: pip install dnabert_nemo[deduplicate]") from None
    return rensa
