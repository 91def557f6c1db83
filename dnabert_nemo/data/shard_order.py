"""Which shard is read when, and by whom: a numbering of all shards of all epochs, for `streaming`.

Position p = 0, 1, 2, ... counts shards over all epochs. A stream is one worker of one data-parallel rank.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import lru_cache
from itertools import count

import numpy as np
import numpy.typing as npt

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.manifest import ShardFile


class ShardOrder:
    """The shards of a set in an order drawn anew each epoch, and how many samples come before each.

    A shard counts for as many samples as its tokens make full ones, rounded up: one number of the manifest
    tells how far a run is. `streaming` draws about as many.

    Args:
        shards: those of the manifest.
        max_tokens: k-mer tokens of a full sample.
        key: a word for the draws of this set, beside the seed.
    """

    def __init__(self, shards: tuple[ShardFile, ...], max_tokens: int, seed: int, key: int) -> None:
        self.num_samples = np.array([-(-shard.num_tokens // max_tokens) for shard in shards], dtype=np.int64)
        self._key = seed, key

    def at(self, position: int) -> tuple[int, int]:
        """Return the epoch and the shard of a position."""
        epoch, turn = divmod(position, len(self.num_samples))
        return epoch, int(self._epoch(epoch)[turn])

    def samples_before(self, position: int) -> int:
        """Count the samples of all positions before this one."""
        epoch, turn = divmod(position, len(self.num_samples))
        return epoch * self.num_samples_of_epoch + int(self.num_samples[self._epoch(epoch)[:turn]].sum())

    def position_of(self, consumed_samples: int) -> int:
        """Return the position that sample falls in: where a run of so many consumed samples goes on."""
        epoch, rest = divmod(consumed_samples, self.num_samples_of_epoch)
        ends = np.cumsum(self.num_samples[self._epoch(epoch)])
        return epoch * len(ends) + int(np.searchsorted(ends, rest, side="right"))

    @property
    def num_samples_of_epoch(self) -> int:
        """The samples all shards count for."""
        return int(self.num_samples.sum())

    def positions(self, first: int, stream: int, num_streams: int) -> Iterator[int]:
        """Yield, without end, the positions from `first` on that one of the streams reads.

        Each position goes to the stream that was given the fewest samples so far: shards of one size go
        round, and a small one, such as the last of a set, puts no stream ahead of the others for good.
        """
        given = [(0, each) for each in range(num_streams)]
        for position in count(first):
            num_samples, taker = given[0]
            if taker == stream:
                yield position
            heapq.heapreplace(given, (num_samples + int(self.num_samples[self.at(position)[1]]), taker))

    def _epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        return _order(len(self.num_samples), self._key, epoch)


def check_streams(num_shards: int, data_parallel_size: int, num_workers: int) -> None:
    """Refuse more streams than there are shards.

    Raises:
        ConfigError: there are.
    """
    if num_shards < data_parallel_size * max(num_workers, 1):
        raise ConfigError(
            f"model.data.num_workers={num_workers} on each of {data_parallel_size} data-parallel ranks, but "
            f"there are {num_shards} shards to stream, each for one worker: pass fewer workers, or run "
            "prepare_shards with a smaller records_per_shard"
        )


@lru_cache(maxsize=8)
def _order(num_shards: int, key: tuple[int, int], epoch: int) -> npt.NDArray[np.int64]:
    # Sorting raw words, which numpy promises for all versions, as it does not for `permutation`.
    counter = np.array([0, 0, 0, epoch], dtype=np.uint64)
    raw = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter).random_raw(num_shards)
    return np.argsort(raw, kind="stable")
