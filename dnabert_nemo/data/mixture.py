"""Which component of the data a sample is drawn from, by weight; `sampling` draws within it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dnabert_nemo.errors import ConfigError

SLOTS = 1 << 16  # of a cycle; a weight is kept to within one of them

Ints = npt.NDArray[np.int64]


class Mixture:
    """A cycle of slots, each a component's, in a seeded order that repeats: sample i has slot i mod SLOTS.

    A component of weight w has w x SLOTS slots, rounded by largest remainders, and at least one. So after any
    number of whole cycles each has had its exact share, and how many samples a component has had before
    sample i is told from i alone.

    Args:
        weights: [c] of the components, above 0; they are scaled to sum to 1.
        seed: of the order of slots.

    Raises:
        ConfigError: there are more components than slots.
    """

    def __init__(self, weights: npt.NDArray[np.float64], seed: int) -> None:
        if len(weights) > SLOTS:
            raise ConfigError(
                f"model.data.train has {len(weights)} components, and can give weights to {SLOTS}: put small "
                "ones together when the shards are made"
            )
        self.slots = _apportioned(np.asarray(weights, dtype=np.float64))  # [c], summing to SLOTS
        key = np.array([seed, _ORDER], dtype=np.uint64)
        order = np.argsort(np.random.Philox(key=key).random_raw(SLOTS), kind="stable")
        self._component = np.repeat(np.arange(len(self.slots)), self.slots)[order]  # of each slot
        by_component = np.argsort(self._component, kind="stable")
        self._rank = np.empty(SLOTS, dtype=np.int64)  # of each slot among those of its component
        self._rank[by_component] = np.arange(SLOTS) - np.repeat(
            np.cumsum(self.slots) - self.slots, self.slots
        )

    def at(self, samples: Ints) -> tuple[Ints, Ints]:
        """Return the component of each sample [n], and how many samples that has had before, [n]."""
        cycle, slot = np.divmod(samples, SLOTS)
        component = self._component[slot]
        return component, cycle * self.slots[component] + self._rank[slot]


_ORDER = (1 << 63) + 1  # second word of the key; far from those of `sampling`


def _apportioned(weights: npt.NDArray[np.float64]) -> Ints:
    """Share out SLOTS by weight, one at least to each, the others by largest remainder."""
    slots = np.ones(len(weights), dtype=np.int64)
    others = np.arange(len(weights))  # that are due more than one
    while True:
        exact = weights[others] / weights[others].sum() * (SLOTS - len(weights) + len(others))
        if exact.min() >= 1:
            break
        others = others[exact >= 1]
    slots[others] = np.floor(exact)
    due = SLOTS - int(slots.sum())
    slots[others[np.argsort(np.floor(exact) - exact, kind="stable")[:due]]] += 1
    return slots
