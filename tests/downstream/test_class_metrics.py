"""Metrics of any number of classes, held against scikit-learn's on random tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)

from dnabert_nemo.downstream.class_metrics import (
    COUNTED,
    RANKED,
    compare_classes,
    ranked_metrics,
    score_classes,
    weighted_rankings,
)
from dnabert_nemo.downstream.metrics import table_metrics

NAMES = ("a", "b", "c", "d", "e")


def drawn(num_classes: int, seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels, and probabilities that know something of them."""
    chance = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), chance.integers(0, num_classes, count)])
    logits = chance.normal(size=(len(labels), num_classes)) + 1.5 * np.eye(num_classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_counted_metrics_are_scikit_learns(num_classes: int, seed: int) -> None:
    labels, probabilities = drawn(num_classes, seed)
    calls = probabilities.argmax(1)
    found = table_metrics(confusion_matrix(labels, calls))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, calls), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, calls, average="macro"), abs=1e-12)
    assert found["mcc"] == pytest.approx(matthews_corrcoef(labels, calls), abs=1e-12)


@pytest.mark.parametrize("table", [[[5, 0], [3, 0]], [[0, 4], [0, 9]], [[7, 0, 0], [2, 0, 0], [1, 0, 0]]])
def test_one_class_alone_has_no_correlation(table: list[list[int]]) -> None:
    assert table_metrics(np.array(table))["mcc"] == 0


def test_many_tables_at_once_are_each_alone() -> None:
    tables = np.random.default_rng(1).integers(0, 30, (4, 6, 3, 3))
    found = table_metrics(tables)
    for name in COUNTED:
        assert found[name].shape == (4, 6)
        assert found[name][2, 5] == table_metrics(tables[2, 5])[name]


@pytest.mark.parametrize("seed", range(3))
def test_ranked_metrics_of_two_classes_are_scikit_learns(seed: int) -> None:
    labels, probabilities = drawn(2, seed)
    found = ranked_metrics(labels, probabilities)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, probabilities[:, 1]))
    assert found["auprc"] == pytest.approx(average_precision_score(labels, probabilities[:, 1]))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, probabilities[:, 1]))


@pytest.mark.parametrize("seed", range(3))
def test_ranked_metrics_of_more_classes_are_scikit_learns(seed: int) -> None:
    labels, probabilities = drawn(4, seed)
    found = ranked_metrics(labels, probabilities)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["auprc"] == pytest.approx(average_precision_score(np.eye(4)[labels], probabilities))
    assert found["brier"] == pytest.approx(((probabilities - np.eye(4)[labels]) ** 2).sum(1).mean())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_weighted_samples_are_repeated_ones(num_classes: int) -> None:
    labels, probabilities = drawn(num_classes, 5, count=60)
    probabilities = np.round(probabilities, 1)  # so that scores are equal
    weights = np.random.default_rng(1).integers(0, 4, (6, len(labels)))
    weights[:, :num_classes] = 1  # every class is there
    for row, found in zip(weights, weighted_rankings(labels, probabilities, weights).T, strict=True):
        repeated = np.repeat(np.arange(len(labels)), row)
        expected = ranked_metrics(labels[repeated], probabilities[repeated])
        share = len(repeated) / len(labels)
        assert found[:2] == pytest.approx([expected["auroc"], expected["auprc"]])
        assert found[2:] == pytest.approx([expected["brier"] * share, expected["calibration_error"] * share])


def test_weights_that_lack_a_class_rank_nothing() -> None:
    labels, probabilities = drawn(2, 5, count=10)
    found = weighted_rankings(labels, probabilities, (labels == 1)[None].astype(int))
    assert np.isnan(found[0]).all()


def test_calibration_is_that_of_the_class_called() -> None:
    """By hand: four sure calls of .9 with one wrong, two of .6 both right, in two bins."""
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    labels = np.array([0, 0, 1, 0, 0, 1])
    by_hand = (abs(4 * 0.9 - 3) + abs(2 * 0.6 - 2)) / 6
    assert ranked_metrics(labels, sure)["calibration_error"] == pytest.approx(by_hand)


def test_a_row_has_every_metric_with_an_interval_about_it() -> None:
    labels, probabilities = drawn(3, 1)
    row = score_classes(labels, probabilities, NAMES[:3], seed=1)
    assert row["num_samples"] == len(labels)
    assert list(row["metrics"]) == list(row["intervals"]) == [*COUNTED, *RANKED]
    for name, value in row["metrics"].items():
        low, high = row["intervals"][name]
        assert low < high
        assert low <= value <= high or name == "calibration_error"  # which a draw only makes larger
    assert row["confusion"]["a"]["b"] == int(((labels == 0) & (probabilities.argmax(1) == 1)).sum())
    assert row == score_classes(labels, probabilities, NAMES[:3], seed=1)
    assert row["intervals"] != score_classes(labels, probabilities, NAMES[:3], seed=2)["intervals"]


def test_a_shape_or_a_class_that_is_missing_is_told() -> None:
    labels, probabilities = drawn(3, 1)
    with pytest.raises(ValueError, match=r"want \[n, 2\]"):
        score_classes(labels, probabilities, NAMES[:2], seed=1)
    with pytest.raises(ValueError, match="a class without a sample"):
        score_classes(np.zeros_like(labels), probabilities, NAMES[:3], seed=1)


def test_the_better_of_two_rows_is_told() -> None:
    labels, probabilities = drawn(3, 1, count=600)
    good, chance = probabilities.argmax(1), np.random.default_rng(2).integers(0, 3, len(labels))
    found = compare_classes(labels, good, chance, 3, seed=1)
    assert list(found["differences"]) == list(COUNTED)
    mcc = found["differences"]["mcc"]
    assert mcc["difference"] == pytest.approx(
        matthews_corrcoef(labels, good) - matthews_corrcoef(labels, chance)
    )
    assert 0 < mcc["interval"][0] < mcc["difference"] < mcc["interval"][1]
    only = (
        int(((good == labels) & (chance != labels)).sum()),
        int(((good != labels) & (chance == labels)).sum()),
    )
    assert (found["only_one"], found["only_other"]) == only
    assert found["mcnemar_p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    same = compare_classes(labels, good, good, 3, seed=1)
    assert same["mcnemar_p"] == 1
    assert same["differences"]["accuracy"] == {"difference": 0, "interval": [0, 0]}
