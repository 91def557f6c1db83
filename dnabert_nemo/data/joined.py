"""Several shard sets read as one: what training samples from when it is given a list; before `sampling`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.reader import ShardSet


class JoinedSets:
    """Shard sets of one k, their stretches counted on from one to the next.

    Args:
        weights: of the sets; None: by their tokens. Within a set its components keep their own weights.

    Raises:
        ConfigError: there are not as many weights as sets, or one is not above 0.
    """

    def __init__(self, sets: Sequence[ShardSet], weights: Sequence[float] | None = None) -> None:
        shares = [float(each.num_tokens) for each in sets] if weights is None else list(weights)
        if len(shares) != len(sets):
            raise ConfigError(
                f"model.data.train_weights={shares} are {len(shares)}, model.data.train names {len(sets)} "
                "sets: give one for each"
            )
        if not all(isinstance(share, int | float) and 0 < share < float("inf") for share in shares):
            raise ConfigError(f"model.data.train_weights={shares}: give numbers above 0")
        self.sets = list(sets)
        first = np.cumsum([0, *(len(each.component_names) for each in sets)])
        kind = np.min_scalar_type(first[-1])  # of reads there are hundreds of millions
        self.stretch_tokens = _end_to_end([each.stretch_tokens for each in sets])
        self.stretch_component = _end_to_end(
            [
                each.stretch_component.astype(kind) + kind.type(at)
                for each, at in zip(sets, first, strict=False)
            ]
        )
        total = sum(shares)
        self.component_weights = np.concatenate(
            [each.component_weights * share / total for each, share in zip(sets, shares, strict=True)]
        )
        self._first_stretch = np.cumsum([0, *(each.num_stretches for each in sets)]).tolist()

    def read(self, stretch: int, first: int, count: int) -> npt.NDArray[np.uint16]:
        """Read the ids of tokens first .. first + count of one stretch, as `ShardSet.read`."""
        number = bisect_right(self._first_stretch, stretch) - 1
        return self.sets[number].read(stretch - self._first_stretch[number], first, count)

    def read_soft_mask(self, stretch: int, first: int, count: int) -> npt.NDArray[np.bool_]:
        """Tell of bases first .. first + count of one stretch which are lower case, as `ShardSet`."""
        number = bisect_right(self._first_stretch, stretch) - 1
        return self.sets[number].read_soft_mask(stretch - self._first_stretch[number], first, count)

    def where(self, stretch: int) -> str:
        """Name a stretch in an error, as `ShardSet.where`."""
        number = bisect_right(self._first_stretch, stretch) - 1
        return self.sets[number].where(stretch - self._first_stretch[number])


def _end_to_end(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
