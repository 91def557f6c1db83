"""The baselines of a splice report, on the toy genome's windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnabert_nemo.downstream.baselines_of_report import BASELINES, asked_baselines, baseline_probabilities
from dnabert_nemo.downstream.report import RULE_ROW, report_rows
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset
from dnabert_nemo.errors import ConfigError


@pytest.fixture(scope="module")
def hard_dir(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("hard") / "toy"
    prepare(toy, folder, protocol="hard")
    return folder


def test_under_hard_the_rule_knows_nothing_and_a_weight_matrix_does(hard_dir: Path) -> None:
    dataset = load_splice_dataset(hard_dir)
    test = dataset.splits["test"]
    found = baseline_probabilities(dataset, test, ["weights", "one_hot"], seed=1)
    assert list(found) == ["position weight matrix, 40 bases", "logistic regression, one-hot of 80 bases"]
    rows = report_rows(test, found, seed=1)
    assert abs(rows[RULE_ROW]["card"]["mean"]["mcc"]) < 0.05
    for name in found:
        assert rows[name]["card"]["mean"]["mcc"] > 0.3
        # each kind of site meets its own decoys alone: as many negatives as sites
        matrix = rows[name]["matrices"]["card"]["donor"]
        sites, decoys = matrix["tp"] + matrix["fn"], matrix["fp"] + matrix["tn"]
        assert sites == int((test.labels == 0).sum())
        assert decoys - sites == int(((test.labels == 1) & (found[name].argmax(1) == 0)).sum())


def test_those_that_see_places_learn_the_cards_task(splice_dir: Path) -> None:
    """Counts of k-mers tell next to nothing of a genome made up of random letters."""
    dataset = load_splice_dataset(splice_dir)
    found = baseline_probabilities(dataset, dataset.splits["test"], list(BASELINES), seed=1)
    assert len(found) == len(BASELINES) == 5
    rows = report_rows(dataset.splits["test"], found, seed=1)
    of_kmers = next(name for name in found if "6-mers" in name)
    assert all(rows[name]["three_class"]["accuracy"] > 0.7 for name in found if name != of_kmers)
    for probabilities in found.values():
        assert probabilities.shape == (len(dataset.splits["test"]), 3)
        assert np.allclose(probabilities.sum(1), 1)


def test_names_are_taken_in_our_order_and_unknown_ones_told() -> None:
    assert asked_baselines(["cnn", "weights"]) == ["weights", "cnn"]
    assert asked_baselines("kmers") == ["kmers"]
    assert asked_baselines(None) == []
    with pytest.raises(
        ConfigError, match="baselines: 'svm' is not known: choose from weights, one_hot, pairs, kmers, c"
    ):
        asked_baselines(["svm"])


def test_without_validation_windows_nothing_can_be_chosen(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "out", validation=())
    dataset = load_splice_dataset(tmp_path / "out")
    assert baseline_probabilities(dataset, dataset.splits["test"], [], seed=1) == {}
    with pytest.raises(ConfigError, match="has no validation windows"):
        baseline_probabilities(dataset, dataset.splits["test"], ["weights"], seed=1)
