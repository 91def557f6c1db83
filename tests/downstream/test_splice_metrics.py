"""The card's metrics against hand-worked tables and scikit-learn, and their bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from dnabert_nemo.downstream.metrics import (
    METRICS,
    binary_metrics,
    bootstrap_intervals,
    confusion_table,
    folded,
    one_vs_rest_matrix,
    score,
    site_matrix,
    table_metrics,
)
from dnabert_nemo.downstream.report import PUBLISHED
from dnabert_nemo.downstream.splice_dataset import LABELS

DONOR, ACCEPTOR, NEGATIVE = range(3)

# rows are true, columns called: donor, acceptor, negative
TABLE = np.array([[80, 5, 15], [10, 70, 20], [3, 7, 90]])


def windows_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.indices(table.shape)
    return np.repeat(labels.ravel(), table.ravel()), np.repeat(predictions.ravel(), table.ravel())


def test_confusion_table_has_true_labels_in_rows() -> None:
    table = confusion_table(np.array([DONOR, DONOR, NEGATIVE]), np.array([ACCEPTOR, DONOR, DONOR]))
    assert table.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert np.array_equal(confusion_table(*windows_of(TABLE)), TABLE)


@pytest.mark.parametrize(
    ("labels", "predictions"), [([], []), ([0, 1], [0]), ([0, 3], [0, 0]), ([0, 1], [0, -1]), ([[0]], [[0]])]
)
def test_confusion_table_refuses_what_is_no_pair_of_class_indices(labels: list, predictions: list) -> None:
    with pytest.raises(ValueError, match=r"labels|class indices"):
        confusion_table(np.array(labels, dtype=int), np.array(predictions, dtype=int))


def test_a_site_called_the_other_kind_is_a_false_positive_of_that_kind() -> None:
    # donors 100 and negatives 100; ten acceptors called donor join as false positives
    assert site_matrix(TABLE, "donor").tolist() == [80, 10 + 3, 5 + 15, 90 + 7]
    assert site_matrix(TABLE, "acceptor").tolist() == [70, 5 + 7, 10 + 20, 90 + 3]
    assert one_vs_rest_matrix(TABLE, "donor").tolist() == [80, 13, 20, 70 + 20 + 7 + 90]
    assert one_vs_rest_matrix(TABLE, "negative").tolist() == [90, 35, 10, 80 + 5 + 10 + 70]


# decoys of donors and of acceptors in the place of the negatives
DECOYS = np.array([[80, 5, 15], [10, 70, 20], [0, 0, 0], [30, 2, 68], [1, 25, 74]])


def test_a_site_label_meets_the_decoys_of_its_own() -> None:
    assert site_matrix(DECOYS, "donor").tolist() == [80, 10 + 30, 5 + 15, 2 + 68]
    assert site_matrix(DECOYS, "acceptor").tolist() == [70, 5 + 25, 10 + 20, 1 + 74]
    assert folded(DECOYS).tolist() == [[80, 5, 15], [10, 70, 20], [31, 27, 142]]
    assert one_vs_rest_matrix(DECOYS, "negative").tolist() == [142, 35, 58, 80 + 5 + 10 + 70]
    assert table_metrics(folded(DECOYS))["accuracy"] == pytest.approx((80 + 70 + 142) / 400)


def test_decoys_are_counted_in_rows_of_their_own() -> None:
    labels = np.array([DONOR, ACCEPTOR, NEGATIVE, NEGATIVE, NEGATIVE])
    against = np.array([NEGATIVE, NEGATIVE, DONOR, ACCEPTOR, NEGATIVE])
    called = np.array([DONOR, NEGATIVE, DONOR, NEGATIVE, ACCEPTOR])
    table = confusion_table(labels, called, against)
    assert table.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    row = score(labels, called, against, seed=1)
    assert row["matrices"]["card"]["donor"] == {"tp": 1, "fp": 1, "fn": 0, "tn": 1}
    assert row["confusion"]["negative"] == {"donor": 1, "acceptor": 1, "negative": 1}


def test_metrics_of_a_hand_worked_matrix() -> None:
    found = binary_metrics(np.array([6, 2, 3, 9]))
    assert found["accuracy"] == pytest.approx(15 / 20)
    assert found["precision"] == pytest.approx(6 / 8)
    assert found["recall"] == pytest.approx(6 / 9)
    assert found["f1"] == pytest.approx(12 / 17)
    assert found["mcc"] == pytest.approx((54 - 6) / np.sqrt(8 * 9 * 11 * 12))


def test_mean_is_over_donor_and_acceptor() -> None:
    row = score(*windows_of(TABLE), seed=1)
    for view in ("card", "one_vs_rest"):
        for metric in METRICS:
            both = [row[view][label][metric] for label in ("donor", "acceptor")]
            assert row[view]["mean"][metric] == pytest.approx(sum(both) / 2)
    assert row["num_windows"] == 300
    assert row["confusion"]["acceptor"] == {"donor": 10, "acceptor": 70, "negative": 20}
    assert row["matrices"]["card"]["donor"] == {"tp": 80, "fp": 13, "fn": 20, "tn": 97}


tables = st.lists(st.integers(0, 30), min_size=9, max_size=9).filter(any).map(lambda c: np.reshape(c, (3, 3)))


@settings(max_examples=60, deadline=None)
@given(tables)
def test_one_vs_rest_and_three_class_agree_with_scikit_learn(table: np.ndarray) -> None:
    labels, predictions = windows_of(table)
    for index, label in enumerate(LABELS):
        true, called = labels == index, predictions == index
        check_against_scikit_learn(one_vs_rest_matrix(table, label), true, called)
    found = table_metrics(table)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predictions))
    macro = sklearn.f1_score(labels, predictions, labels=[0, 1, 2], average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(macro)
    assert found["mcc"] == pytest.approx(sklearn.matthews_corrcoef(labels, predictions))


@settings(max_examples=60, deadline=None)
@given(tables)
def test_card_matrix_agrees_with_scikit_learn_on_the_windows_it_holds(table: np.ndarray) -> None:
    labels, predictions = windows_of(table)
    for one, other in ((DONOR, ACCEPTOR), (ACCEPTOR, DONOR)):
        is_held = (labels != other) | (predictions == one)
        true, called = labels[is_held] == one, predictions[is_held] == one
        check_against_scikit_learn(site_matrix(table, LABELS[one]), true, called)


def check_against_scikit_learn(matrix: np.ndarray, true: np.ndarray, called: np.ndarray) -> None:
    assert matrix.sum() == len(true)
    if not len(true):
        return
    found = binary_metrics(matrix)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(true, called))
    assert found["precision"] == pytest.approx(sklearn.precision_score(true, called, zero_division=0))
    assert found["recall"] == pytest.approx(sklearn.recall_score(true, called, zero_division=0))
    assert found["f1"] == pytest.approx(sklearn.f1_score(true, called, zero_division=0))
    if true.any() and not true.all():  # with one class scikit-learn's own answer varies between versions
        assert found["mcc"] == pytest.approx(sklearn.matthews_corrcoef(true, called))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([0, 0, 5, 5], {"accuracy": 0.5, "mcc": 0, "f1": 0, "precision": 0, "recall": 0}),  # never called
        (
            [5, 5, 0, 0],
            {"accuracy": 0.5, "mcc": 0, "f1": 2 / 3, "precision": 0.5, "recall": 1},
        ),  # always called
        ([0, 0, 0, 8], {"accuracy": 1, "mcc": 0, "f1": 0, "precision": 0, "recall": 0}),  # nothing to find
        ([0, 0, 0, 0], {"accuracy": 0, "mcc": 0, "f1": 0, "precision": 0, "recall": 0}),  # no windows
        ([5, 0, 0, 5], {"accuracy": 1, "mcc": 1, "f1": 1, "precision": 1, "recall": 1}),
        ([0, 5, 5, 0], {"accuracy": 0, "mcc": -1, "f1": 0, "precision": 0, "recall": 0}),
    ],
)
def test_degenerate_matrices_are_defined(matrix: list[int], expected: dict[str, float]) -> None:
    found = binary_metrics(np.array(matrix))
    assert {metric: float(value) for metric, value in found.items()} == pytest.approx(expected)


def test_the_published_figures_need_as_many_negatives_as_sites() -> None:
    """With a third of the windows positive no matrix has the card's figures; with half of them one does."""
    for label in ("donor", "acceptor"):
        accuracy, mcc, f1 = (PUBLISHED[label][metric] for metric in ("accuracy", "mcc", "f1"))
        num_errors = (1 - accuracy) * 30_000
        assert 2 * 10_000 / (2 * 10_000 + num_errors) < f1 - 0.02
        true = round(f1 / (1 - f1) * (1 - accuracy) / 2 * 20_000)
        false = round((1 - accuracy) * 20_000) - (10_000 - true)
        balanced = np.array([true, false, 10_000 - true, 10_000 - false])
        assert binary_metrics(balanced)["mcc"] == pytest.approx(mcc, abs=0.002)


def test_intervals_are_those_of_drawing_windows_with_replacement() -> None:
    labels, predictions = windows_of(TABLE)
    rng = np.random.Generator(np.random.Philox(7))
    drawn = []
    for _ in range(2_000):
        rows = rng.integers(0, len(labels), len(labels))
        table = confusion_table(labels[rows], predictions[rows])
        drawn.append([binary_metrics(site_matrix(table, label))["mcc"] for label in ("donor", "acceptor")])
    expected = np.quantile(np.mean(drawn, axis=1), [0.025, 0.975])
    found = bootstrap_intervals(TABLE, seed=1, resamples=2_000)["mean"]["mcc"]
    assert found == pytest.approx(expected, abs=0.01)


def test_intervals_hold_the_figure_follow_the_seed_and_narrow_with_windows() -> None:
    row = score(*windows_of(TABLE), seed=3)
    wider = row["intervals"]
    narrower = bootstrap_intervals(TABLE * 25, seed=3)
    for label in ("donor", "acceptor", "mean"):
        for metric in METRICS:
            low, high = wider[label][metric]
            assert low < row["card"][label][metric] < high
            width = narrower[label][metric][1] - narrower[label][metric][0]
            assert width == pytest.approx((high - low) / 5, rel=0.2)
    assert bootstrap_intervals(TABLE, seed=3) == wider
    assert bootstrap_intervals(TABLE, seed=4) != wider
