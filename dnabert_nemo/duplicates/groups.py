"""Windows joined into groups of duplicates, and which of a group stays; after `verify`, before the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class UnionFind:
    """Which of n windows belong together; 4 bytes a window."""

    def __init__(self, num_windows: int) -> None:
        self._parent = np.arange(num_windows, dtype=np.uint32)

    def find(self, window: int) -> int:
        """Return the smallest window of a window's group."""
        parent = self._parent
        while (above := parent[window]) != window:
            parent[window] = parent[above]  # halve the way for whoever comes next
            window = int(parent[window])
        return window

    def join(self, one: int, other: int) -> None:
        """Make one group of the groups of two windows."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first

    def join_firsts(self, firsts: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        """Join windows that are alone to the first of their run, smaller than they: int64 [n] each."""
        self._parent[others] = firsts

    def are_apart(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of pairs [n, 2] which are of two groups."""
        roots = pairs.copy()
        while ((above := self._parent[roots]) != roots).any():
            roots = above.astype(np.int64)
        is_apart: NDArray[np.bool_] = roots[:, 0] != roots[:, 1]
        return is_apart

    def roots(self) -> NDArray[np.uint32]:
        """Return the smallest window of every window's group: uint32 [num_windows]."""
        roots = self._parent
        while ((above := roots[roots]) != roots).any():
            roots = above
        return roots


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of two windows or more; members stand group by group, the kept one first, then by window.

    Groups stand in the order of their first windows.
    """

    members: NDArray[np.int64]  # [num_members] windows
    group: NDArray[np.int64]  # [num_members], from 0
    kept: NDArray[np.int64]  # [num_groups], the window that stays of each

    @property
    def dropped(self) -> NDArray[np.int64]:
        """The windows that go: int64 [num_dropped], in the order of `members`."""
        gone: NDArray[np.int64] = self.members[self.members != self.kept[self.group]]
        return gone


def gather_groups(roots: NDArray[np.uint32], bases: NDArray[np.int64]) -> Groups:
    """Gather windows by their root; of each group the longest stays, the first of the longest.

    `bases` [num_windows] are the windows' lengths and may be on disk.
    """
    is_member = np.zeros(len(roots), dtype=np.bool_)
    for first in range(0, len(roots), 1 << 22):
        part = roots[first : first + (1 << 22)]
        joined = np.flatnonzero(part != np.arange(first, first + len(part), dtype=np.uint32))
        is_member[first + joined] = True
        is_member[part[joined]] = True
    members = np.flatnonzero(is_member)
    root = roots[members].astype(np.int64)
    order = np.lexsort((members, -bases[members].astype(np.int64), root))
    is_first = np.ones(len(members), dtype=np.bool_)
    is_first[1:] = root[order][1:] != root[order][:-1]
    group = np.cumsum(is_first) - 1
    kept = members[order][is_first]
    in_order = np.lexsort((members[order], ~is_first, group))
    return Groups(members[order][in_order], group, kept)
