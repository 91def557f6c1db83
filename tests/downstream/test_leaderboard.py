"""Ranks over data sets, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnabert_nemo.downstream.leaderboard import leaderboard, render, write_leaderboard

PUBLISHED = {"metric": "mcc", "source": "A. Uthor, 2020", "rows": {"big": 0.7092}}


def of_task(**mcc: float) -> dict[str, Any]:
    rows = {name.replace("_", "-"): {"metrics": {"mcc": value}} for name, value in mcc.items()}
    return {"rows": rows, "dataset": {"files": {"test.csv": "0"}, "published": PUBLISHED}}


def of_sites(**mcc: float) -> dict[str, Any]:
    rows = {name.replace("_", "-"): {"card": {"mean": {"mcc": value}}} for name, value in mcc.items()}
    return {"rows": rows, "dataset": {"files": {"test.csv": "1"}}}


REPORTS = {
    "one": of_task(a_seed1=0.5, a_seed2=0.7, b_seed1=0.8, b_seed2=0.8, kmers=0.6),
    "two": of_sites(a_seed1=0.9, b_seed1=0.2, kmers=0.9, rule=0.1),
}


def test_ranks_are_those_of_the_means_over_seeds() -> None:
    entrants = leaderboard(REPORTS)["entrants"]
    ranks = {
        name: {dataset: figure["rank"] for dataset, figure in entrant["datasets"].items()}
        for name, entrant in entrants.items()
    }
    assert ranks == {
        "a": {"one": 2, "two": 1},  # 0.6, as the k-mers have: both are second
        "b": {"one": 1, "two": 3},
        "kmers": {"one": 2, "two": 1},
        "rule": {"two": 4},
    }
    assert list(entrants) == ["a", "kmers", "b", "rule"]
    assert [entrant["mean_rank"] for entrant in entrants.values()] == [1.5, 1.5, 2.0, None]
    figure = entrants["a"]["datasets"]["one"]
    assert figure["mean"] == pytest.approx(0.6)
    assert figure["deviation"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert entrants["a"]["datasets"]["two"]["deviation"] is None


def test_the_table_has_published_figures_without_a_rank(tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "board", REPORTS, command="python suite", seeds=[1, 2])
    text = (tmp_path / "board" / "leaderboard.md").read_text()
    assert "|  | mean rank | one | two |" in text
    assert "| a | 1.50 | 0.6000 ± 0.1414 (2) | 0.9000 (1) |" in text
    assert "| rule |  |  | 0.1000 (4) |" in text
    assert "| published, big |  | 0.7092 |  |" in text
    assert "A. Uthor, 2020" in text
    assert "python suite" in text


def test_a_board_of_fewer_reports_is_replaced(tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "board", {"one": REPORTS["one"]}, command="c", seeds=[1])
    assert "two" not in (tmp_path / "board" / "leaderboard.md").read_text()
    write_leaderboard(tmp_path / "board", REPORTS, command="c", seeds=[1])
    assert "two" in (tmp_path / "board" / "leaderboard.md").read_text()


def test_without_published_figures_none_are_told_of() -> None:
    board = leaderboard({"two": REPORTS["two"]}) | {"datasets": {"two": {}}, "command": "", "versions": {}}
    assert "ublished" not in render(board)
