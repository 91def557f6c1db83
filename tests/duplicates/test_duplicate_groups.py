"""Joined windows are groups, against networks of sets; the longest stays, the first of the longest."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.duplicates.groups import UnionFind, gather_groups

NUM = 12
PAIRS = st.lists(st.tuples(st.integers(0, NUM - 1), st.integers(0, NUM - 1)))


def connected(pairs: list[tuple[int, int]]) -> list[set[int]]:
    groups = [{window} for window in range(NUM)]
    for one, other in pairs:
        joined = next(group for group in groups if one in group)
        second = next(group for group in groups if other in group)
        if joined is not second:
            joined |= second
            groups.remove(second)
    return groups


@given(PAIRS)
def test_groups_are_what_pairs_connect(pairs: list[tuple[int, int]]) -> None:
    joined = UnionFind(NUM)
    for pair in pairs:
        joined.join(*pair)
    groups = connected(pairs)
    root = {window: min(group) for group in groups for window in group}
    assert joined.roots().tolist() == [root[window] for window in range(NUM)]
    assert [joined.find(window) for window in range(NUM)] == joined.roots().tolist()
    every = np.array([(a, b) for a in range(NUM) for b in range(NUM)])
    assert joined.are_apart(every).tolist() == [root[a] != root[b] for a, b in every.tolist()]


def test_runs_are_joined_at_once() -> None:
    joined = UnionFind(6)
    joined.join_firsts(np.array([0, 0, 2]), np.array([3, 5, 4]))
    assert joined.roots().tolist() == [0, 1, 2, 0, 2, 0]


@given(pairs=PAIRS, bases=st.lists(st.integers(1, 3), min_size=NUM, max_size=NUM))
def test_the_longest_stays_the_first_of_the_longest(pairs: list[tuple[int, int]], bases: list[int]) -> None:
    joined = UnionFind(NUM)
    for pair in pairs:
        joined.join(*pair)
    groups = gather_groups(joined.roots(), np.array(bases))
    expected = sorted((sorted(group) for group in connected(pairs) if len(group) > 1), key=min)
    assert len(groups.kept) == len(expected)
    for number, group in enumerate(expected):
        members = groups.members[groups.group == number].tolist()
        kept = max(group, key=lambda window: (bases[window], -window))
        assert members == [kept, *(window for window in group if window != kept)]
        assert groups.kept[number] == kept
    dropped = {window for group in expected for window in group} - set(groups.kept.tolist())
    assert set(groups.dropped.tolist()) == dropped
