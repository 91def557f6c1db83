"""Which component of the data a sample is drawn from, by weight; `sampling` draws within it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    """

    def __init__(self, weights: npt.NDArray[np.float64], seed: int) -> None:
        self.slots = _apportioned(np.asarray(weights, dtype=np.float64))  # [c], summing to SLOTS
        component = np.repeat(np.arange(len(self.slots), dtype=np.int64), self.slots)
        key = np.array([seed, _ORDER], dtype=np.uint64)
        order = np.argsort(np.random.Philox(key=key).random_raw(SLOTS), kind="stable")
        self._component = component[order]  # of each slot
        self._rank = np.empty(SLOTS, dtype=np.int64)  # of each slot among those of its component
        for number in range(len(self.slots)):
            own = np.flatnonzero(self._component == number)
            self._rank[own] = np.arange(len(own))

    def at(self, samples: Ints) -> tuple[Ints, Ints]:
        """Return the component of each sample [n], and how many samples that has had before, [n]."""
        cycle, slot = np.divmod(samples, SLOTS)
        component = self._component[slot]
        return component, cycle * self.slots[component] + self._rank[slot]


_ORDER = (1 << 63) + 1  # second word of the key; far from those of `sampling`


def _apportioned(weights: npt.NDArray[np.float64]) -> Ints:
    """Share out SLOTS by weight, at least one to each: Hamilton's method."""
    exact = weights / weights.sum() * SLOTS
    slots = np.maximum(np.floor(exact).astype(np.int64), 1)
    left = SLOTS - int(slots.sum())
    if left > 0:
        slots[np.argsort(slots - exact, kind="stable")[:left]] += 1
    while left < 0:  # tiny weights were rounded up: the largest give
        slots[np.argmax(slots)] -= 1
        left += 1
    return slots
