"""Rows of a benchmark: ratios, targets, and what is printed and written of them."""

from __future__ import annotations

import json

from dnabert_nemo.bench.table import Row, as_json, environment, markdown

FAST = Row("ids", 300.0, "Mbase/s", "a loop", 150.0, target=200.0, target_ratio=3.0, note="quiet")
SMALL = Row("memory", 0.5, "GB", target=1.0, lower_is_better=True)
ALONE = Row("slope", 1.02, "", "absent", None, target_ratio=2.0)


def test_a_row_knows_its_ratio_and_which_targets_it_reaches() -> None:
    assert FAST.ratio == 2.0
    assert FAST.targets() == ">= 200, met; >= 3 x, missed"
    assert FAST.is_met is False
    assert SMALL.is_met is True
    assert SMALL.targets() == "<= 1, met"


def test_without_a_peer_a_ratio_is_not_judged() -> None:
    assert ALONE.ratio is None
    assert ALONE.is_met is None
    assert ALONE.targets() == ">= 2 x"


def test_the_table_has_a_line_a_row() -> None:
    lines = markdown([FAST, SMALL, ALONE]).splitlines()
    assert len(lines) == 5
    assert lines[2] == (
        "| ids | 300 Mbase/s | >= 200, met; >= 3 x, missed | a loop | 150 Mbase/s | 2 x | quiet |"
    )
    assert {line.count("|") for line in lines} == {8}


def test_json_has_the_fields_and_what_follows_from_them() -> None:
    written = json.loads(
        as_json([FAST, ALONE], {"command": "x", **environment(["numpy", "no-such-package"])})
    )
    assert [row["ratio"] for row in written["rows"]] == [2.0, None]
    assert [row["is_met"] for row in written["rows"]] == [False, None]
    assert written["packages"]["no-such-package"] == "not installed"
    assert written["packages"]["numpy"][0].isdigit()
