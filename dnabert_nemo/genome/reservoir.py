"""A fair draw from the reads of a sample: after `fastq`, before the scan writes what was drawn.

Draws are raw words of Philox, which numpy promises for all versions, scaled in whole numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError

_WORDS_AT_ONCE = 4096


class Reservoir:
    """Draw `size` of a stream of unknown length, each subset as likely as any other (Vitter's algorithm R).

    It holds no items: `offer` says for each whether to take it, and into which of the slots 0 .. size - 1,
    in place of what was there. A caller that only appends keeps for each slot where its last item is; of a
    stream of M items it takes about size * (1 + ln(M / size)). The order of the slots means nothing.

    Args:
        size: items to draw; None takes all.
        seed: one seed and stream always draw the same places.
        stream: its number or name; different ones draw independently. With its name a sample's draw does not
            depend on which other samples there are.

    Raises:
        ConfigError: if `size` is less than 1.
    """

    def __init__(self, size: int | None, seed: int, stream: int | str) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"reads_per_sample={size}: give a whole number of at least 1, or null for all")
        self.size = size
        self.num_offered = 0
        self._words = chain.from_iterable(_blocks_of_words(seed, stream))

    @property
    def num_held(self) -> int:
        """How many slots are filled: the first of them."""
        return self.num_offered if self.size is None else min(self.size, self.num_offered)

    def offer(self) -> int | None:
        """Return the slot the next item goes into, None where it is passed over."""
        place = self.num_offered
        self.num_offered += 1
        if self.size is None or place < self.size:
            return place
        slot = next(self._words) * self.num_offered >> 64  # uniform in 0 .. place
        return slot if slot < self.size else None


def equal_portion(num_kept: Mapping[str, int], sample: str, seed: int) -> NDArray[np.int64]:
    """Choose rows of a sample so that every sample gives as many as the smallest: rising, int64 [smallest].

    `num_kept` maps each sample to its rows, `sample` among them. The choice is drawn, never a prefix. It
    takes about 24 bytes a row while it runs.

    Raises:
        ConfigError: if a sample has no row, so that none could give any.
    """
    if empty := [name for name, count in num_kept.items() if count < 1]:
        raise ConfigError(
            f"sample {empty[0]!r} kept no read, and every sample is to give as many: "
            "loosen the read filter, or leave the sample out"
        )
    smallest = min(num_kept.values())
    if num_kept[sample] == smallest:
        return np.arange(smallest, dtype=np.int64)
    words = _philox(seed, "portion", sample).random_raw(num_kept[sample])
    threshold = np.partition(words, smallest - 1)[smallest - 1]
    # two equal words at the threshold would be one row too many
    return np.flatnonzero(words <= threshold)[:smallest].astype(np.int64, copy=False)


def _blocks_of_words(seed: int, stream: int | str) -> Iterator[list[int]]:
    philox = _philox(seed, "reservoir", stream)
    while True:
        yield philox.random_raw(_WORDS_AT_ONCE).tolist()


def _philox(seed: int, purpose: str, stream: int | str) -> np.random.Philox:
    """Return the generator of a purpose and a stream, unrelated to that of any other."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{stream}".encode("utf-8", "surrogatepass")).digest()
    return np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64))
