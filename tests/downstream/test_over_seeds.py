"""Means and spreads over models that differ in their seed, against numpy's, scikit-learn's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

from dnabert_nemo.downstream.comparison import compare
from dnabert_nemo.downstream.over_seeds import (
    classes_over_seeds,
    groups_of,
    seeded_name,
    sites_over_seeds,
)
from dnabert_nemo.downstream.report_markdown import over_seeds_sections
from dnabert_nemo.downstream.splice_dataset import SpliceSplit
from dnabert_nemo.downstream.task_dataset import TaskSplit


def called(labels: np.ndarray, share: float, seed: int, num_classes: int) -> np.ndarray:
    """Return probabilities [n, C] of which a share calls the label and the rest anything."""
    rng = np.random.default_rng(seed)
    calls = np.where(rng.random(len(labels)) < share, labels, rng.integers(0, num_classes, len(labels)))
    return np.eye(num_classes)[calls] * 0.5 + 0.1


@pytest.fixture
def part() -> TaskSplit:
    labels = np.random.default_rng(1).integers(0, 3, 600)
    return TaskSplit(["ACGT"] * 600, labels.astype(np.int64))


def test_names_that_differ_in_their_seed_go_together() -> None:
    names = [seeded_name("a", 1), "kmers", seeded_name("b-seed", 7), seeded_name("a", 22), "a-seedling"]
    assert groups_of(names) == {
        "a": ["a-seed1", "a-seed22"],
        "kmers": ["kmers"],
        "b-seed": ["b-seed-seed7"],
        "a-seedling": ["a-seedling"],
    }


def test_means_and_deviations_are_those_of_the_models(part: TaskSplit) -> None:
    found = {f"ours-seed{seed}": called(part.labels, 0.8, seed, 3) for seed in (1, 2, 3)}
    found["kmers"] = called(part.labels, 0.5, 9, 3)
    rows = classes_over_seeds(part, found, seed=1)
    assert list(rows) == ["ours", "kmers"]
    assert rows["ours"]["models"] == ["ours-seed1", "ours-seed2", "ours-seed3"]
    for metric, of in (("mcc", matthews_corrcoef), ("accuracy", accuracy_score)):
        each = {name: of(part.labels, given.argmax(1)) for name, given in found.items()}
        ours = [each[name] for name in rows["ours"]["models"]]
        assert rows["ours"]["metrics"][metric]["mean"] == pytest.approx(np.mean(ours))
        assert rows["ours"]["metrics"][metric]["deviation"] == pytest.approx(np.std(ours, ddof=1))
        assert rows["kmers"]["metrics"][metric] == {"mean": pytest.approx(each["kmers"]), "deviation": None}
        less = rows["kmers"]["first_less_this"][metric]
        assert less["difference"] == pytest.approx(np.mean(ours) - each["kmers"])
        assert less["interval"][0] < less["difference"] < less["interval"][1]
    assert rows["ours"]["first_less_this"] == {}


def test_an_interval_is_that_of_the_paired_bootstrap_where_the_seeds_agree(part: TaskSplit) -> None:
    """Two models that call alike are one, whose interval `compare` knows; both draw, so they differ a bit."""
    windows = SpliceSplit(
        ["A"] * 600,
        part.labels,
        ["1"] * 600,
        np.zeros(600, dtype=np.int64),
        ["+"] * 600,
        [""] * 600,
        [""] * 600,
        np.zeros(600, dtype=np.int64),
    )
    one, other = called(part.labels, 0.8, 1, 3), called(part.labels, 0.6, 2, 3)
    rows = sites_over_seeds(windows, {"a-seed1": one, "a-seed2": one, "b": other}, seed=1)
    beside = compare(part.labels, one.argmax(1), other.argmax(1), seed=1)["differences"]
    for metric in ("accuracy", "mcc", "f1"):
        less = rows["b"]["first_less_this"][metric]
        assert less["difference"] == pytest.approx(beside[metric]["difference"])
        assert less["interval"] == pytest.approx(beside[metric]["interval"], abs=0.012)
        assert rows["a"]["metrics"][metric]["deviation"] == pytest.approx(0)


def test_nothing_is_said_where_no_two_differ_in_their_seed(part: TaskSplit) -> None:
    found = {"a-seed1": called(part.labels, 0.8, 1, 3), "b-seed1": called(part.labels, 0.8, 2, 3)}
    assert classes_over_seeds(part, found, seed=1) == {}
    assert over_seeds_sections({"over_seeds": {}}, ("MCC",)) == []


def test_a_row_shows_mean_deviation_and_what_the_first_has_over_it() -> None:
    def row(models: list[str], deviation: float | None, less: dict) -> dict:
        return {
            "models": models,
            "metrics": {"mcc": {"mean": 0.5, "deviation": deviation}},
            "first_less_this": less,
        }

    groups = {
        "ours": row(["ours-seed1", "ours-seed2"], 0.01, {}),
        "kmers": row(["kmers"], None, {"mcc": {"difference": -0.25, "interval": [-0.5, 0.125]}}),
    }
    (section,) = over_seeds_sections({"over_seeds": groups}, ("MCC",))
    assert "| ours | 2 | 0.5000 ± 0.0100 |  |" in section
    assert "| kmers | 1 | 0.5000 | -0.2500 [-0.5000, +0.1250] |" in section
