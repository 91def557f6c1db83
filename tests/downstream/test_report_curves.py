"""Curves and bins of a report beside scikit-learn's curves, areas and the errors that are known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_curve

from dnabert_nemo.downstream.class_metrics import ranked_metrics
from dnabert_nemo.downstream.ranking import calibration_error, rank
from dnabert_nemo.downstream.report_curves import (
    CALLED,
    MOST_POINTS,
    calibration_bins,
    class_curves,
    ranked_points,
    site_curves,
    thinned,
)


def scored(count: int, classes: int, decimals: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that know something of them."""
    chance = np.random.default_rng(count)
    labels = np.r_[np.arange(classes), chance.integers(0, classes, count - classes)]
    logits = np.eye(classes)[labels] * 1.5 + chance.normal(size=(count, classes))
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, np.round(found, decimals)


@pytest.mark.parametrize("count", [20, 5000])
def test_curves_are_those_of_scikit_learn_within_thinning(count: int) -> None:
    labels, found = scored(count, 2)
    curves = class_curves(labels, found, ("no", "yes"))["curves"]
    assert list(curves) == ["yes"]
    false_rate, true_rate, _ = roc_curve(labels, found[:, 1])
    precision, recall, _ = precision_recall_curve(labels, found[:, 1])
    for kept, theirs, names in (
        (curves["yes"]["roc"], (false_rate, true_rate), ("false_positive_rate", "true_positive_rate")),
        (curves["yes"]["precision_recall"], (recall[::-1], precision[::-1]), ("recall", "precision")),
    ):
        ours, whole = np.array([kept[name] for name in names]), np.array(theirs)
        assert ours.shape[1] <= MOST_POINTS
        assert np.abs(ours[:, [0, -1]] - whole[:, [0, -1]]).max() <= 5e-6
        apart = np.abs(whole[:, :, None] - ours[:, None]).sum(0)  # [all points, kept points]
        assert apart.min(0).max() <= 1e-5  # what is kept is there
        steps = np.abs(np.diff(whole)).sum(0)
        assert apart.min(1).max() <= steps.sum() / (MOST_POINTS - 1) + steps.max() + 1e-5
        if count < MOST_POINTS:
            assert len(np.unique(whole, axis=1).T) <= ours.shape[1] <= whole.shape[1]


def test_areas_are_those_of_the_report() -> None:
    labels, found = scored(700, 3, decimals=2)
    curves, known = site_curves(labels, found)["curves"], rank(labels, found)
    for label in ("donor", "acceptor"):
        assert curves[label]["roc"]["area"] == pytest.approx(known[label]["auroc"], abs=1e-5)
        assert curves[label]["precision_recall"]["area"] == pytest.approx(known[label]["auprc"], abs=1e-5)
    by_class = class_curves(labels, found, ("a", "b", "c"))["curves"]
    assert list(by_class) == ["a", "b", "c"]
    mean = np.mean([each["roc"]["area"] for each in by_class.values()])
    assert mean == pytest.approx(ranked_metrics(labels, found)["auroc"], abs=1e-5)


def test_of_many_classes_the_mean_is_drawn() -> None:
    labels, found = scored(900, 9)
    [(name, mean)] = class_curves(labels, found, tuple("abcdefghi"))["curves"].items()
    assert name == "mean of 9 classes"
    assert mean["roc"]["area"] == pytest.approx(ranked_metrics(labels, found)["auroc"], abs=5e-3)
    assert mean["precision_recall"]["area"] == pytest.approx(ranked_metrics(labels, found)["auprc"], abs=0.02)
    rates = mean["roc"]
    assert (rates["false_positive_rate"][0], rates["true_positive_rate"][0]) == (0, 0)
    assert (rates["false_positive_rate"][-1], rates["true_positive_rate"][-1]) == (1, 1)


@pytest.mark.parametrize("decimals", [0, 6])
def test_bins_add_up_to_the_calibration_error(decimals: int) -> None:
    labels, found = scored(3000, 3, decimals)
    of_sites, known = site_curves(labels, found)["calibration"], rank(labels, found)
    for label in ("donor", "acceptor"):
        assert error_of(of_sites[label]) == pytest.approx(known[label]["calibration_error"], abs=2e-5)
    of_called = class_curves(labels, found, ("a", "b", "c"))["calibration"][CALLED]
    assert error_of(of_called) == pytest.approx(ranked_metrics(labels, found)["calibration_error"], abs=2e-5)
    assert sum(of_called["number"]) == 3000


def error_of(bins: dict[str, list[float]]) -> float:
    number = np.array(bins["number"])
    return float((number * np.abs(np.subtract(bins["score"], bins["share"]))).sum() / number.sum())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 15)), min_size=1, max_size=40))
def test_bins_of_any_samples(rows: list[tuple[bool, int]]) -> None:
    is_right, scores = np.array([right for right, _ in rows]), np.array([at / 15 for _, at in rows])
    bins = calibration_bins(is_right, scores)
    assert sum(bins["number"]) == len(rows)
    assert error_of(bins) == pytest.approx(calibration_error(is_right, scores), abs=2e-5)


def test_a_rule_has_a_point_between_the_ends() -> None:
    is_one = np.array([True] * 4 + [False] * 4)
    roc, precision_recall = ranked_points(is_one, np.array([1.0, 1, 1, 0, 1, 0, 0, 0]))
    assert thinned(roc).T.tolist() == [[0, 0], [0.25, 0.75], [1, 1]]
    assert precision_recall.T.tolist() == [[0, 1], [0.75, 0.75], [1, 0.5]]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(2, 30))
def test_thinning_keeps_ends_and_order(heights: list[int], most: int) -> None:
    points = np.array([np.arange(len(heights)), heights], dtype=np.float64)
    kept = thinned(points, most)
    assert kept.shape[1] <= most
    assert (kept[:, [0, -1]] == points[:, [0, -1]]).all()
    assert (np.diff(kept[0]) > 0).all()
    assert all(heights[int(at)] == height for at, height in kept.T)
