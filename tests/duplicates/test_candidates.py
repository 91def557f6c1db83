"""Windows with equal keys are found whatever the memory, and paired with the first and the one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.duplicates.candidates import KeyColumn, candidate_pairs, equal_runs, run_firsts, unpair

KEYS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60)


def column(path: Path, keys: list[int]) -> KeyColumn:
    spread = np.array(keys, dtype=np.uint64) * np.uint64(0x2545F4914F6CDD1D)  # over all high bits
    spread.tofile(path)
    return KeyColumn(path, len(keys))


@pytest.mark.parametrize("part_keys", [1, 7, 1 << 20])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given_keys=KEYS)
def test_runs_are_the_equal_keys_in_use(
    part_keys: int, given_keys: list[tuple[int, bool]], tmp_path: Path
) -> None:
    keys = column(tmp_path / "keys", [key for key, _ in given_keys])
    use = np.array([used for _, used in given_keys])
    found = []
    for members, is_first in equal_runs(keys, use, part_keys):
        runs = np.split(members, np.flatnonzero(is_first)[1:])
        found += [tuple(run.tolist()) for run in runs if len(run)]
        expected_firsts = [run[0] for run in runs for _ in run]
        assert run_firsts(members, is_first).tolist() == expected_firsts
    by_key: dict[int, list[int]] = {}
    for window, (key, used) in enumerate(given_keys):
        if used:
            by_key.setdefault(key, []).append(window)
    assert sorted(found) == sorted(tuple(run) for run in by_key.values() if len(run) > 1)


def test_a_bucket_costs_two_pairs_a_window_and_each_pair_is_there_once(tmp_path: Path) -> None:
    bands = [column(tmp_path / "a", [5, 1, 5, 5, 2, 5]), column(tmp_path / "b", [5, 2, 5, 3, 2, 4])]
    pairs = unpair(candidate_pairs(bands, np.ones(6, dtype=bool)))
    assert pairs.tolist() == [[0, 2], [0, 3], [0, 5], [1, 4], [2, 3], [3, 5]]


def test_unused_windows_are_in_no_pair(tmp_path: Path) -> None:
    use = np.array([True, True, False, True])
    pairs = candidate_pairs([column(tmp_path / "a", [4, 4, 4, 4])], use, part_keys=2)
    assert unpair(pairs).tolist() == [[0, 1], [0, 3], [1, 3]]


def test_keys_are_taken_in_any_order(tmp_path: Path) -> None:
    keys = column(tmp_path / "a", [1, 2, 3])
    assert keys.take(np.array([[2, 0], [1, 1]])).tolist() == [
        [value * 0x2545F4914F6CDD1D % 2**64 for value in row] for row in ((3, 1), (2, 2))
    ]
