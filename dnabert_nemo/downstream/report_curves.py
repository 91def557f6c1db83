"""What a report's figures are drawn from: ROC, precision over recall, and bins of calibration, of each row.

`ranking` and `class_metrics` tell what the areas and errors of the same curves are; `html_page` draws them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.ranking import NUM_BINS, bin_of, site_scores

MOST_POINTS = 200  # of a curve: closer than a line is wide
MOST_CLASSES = 6  # that have curves of their own; of more their mean is shown
CALLED = "class called"

_DIGITS = 5


def site_curves(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    against: NDArray[np.integer] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the `curves` and the `calibration` of probabilities [n, 3] as parts of a report's row.

    Both are by SITE_LABELS, of the windows that `ranking.site_scores` gives each.
    """
    scored = {label: site_scores(labels, probabilities, against, label) for label in SITE_LABELS}
    return {
        "curves": {label: _curves(*ranked_points(*found)) for label, found in scored.items()},
        "calibration": {label: calibration_bins(*found) for label, found in scored.items()},
    }


def class_curves(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return the `curves` and the `calibration` of probabilities [n, C] as parts of a report's row.

    Curves are of the second class where there are two, of each against the rest up to MOST_CLASSES, or else
    their mean. Calibration is that of the class called, as in `class_metrics.ranked_metrics`.
    """
    columns = [1] if len(names) == 2 else range(len(names))
    points = {names[one]: ranked_points(labels == one, probabilities[:, one]) for one in columns}
    if len(points) > MOST_CLASSES:
        points = {f"mean of {len(names)} classes": _mean_points(list(points.values()))}
    is_right = probabilities.argmax(1) == labels
    surest = probabilities.max(1).astype(np.float64)
    return {
        "curves": {name: _curves(*found) for name, found in points.items()},
        "calibration": {CALLED: calibration_bins(is_right, surest)},
    }


def ranked_points(
    is_one: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return all points of both curves of m samples, the highest scores first.

    Returns:
        ROC [2, a]: the rates of false and of true positives. Precision over recall [2, b]: recall and
        precision, from (0, 1), scikit-learn's end of a curve.
    """
    false_rate, true_rate, _ = roc_curve(is_one, scores)
    precision, recall, _ = precision_recall_curve(is_one, scores)
    return np.stack([false_rate, true_rate]), np.stack([recall, precision])[:, ::-1]


def thinned(points: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.float64]:
    """Return at most `most` of a curve's points [2, n], evenly along its length, with both its ends.

    The length is that of steps along either axis; what is left out lies between two that stay, which are
    the whole length / (most - 1) and one step apart at most.
    """
    along = np.concatenate([[0.0], np.abs(np.diff(points)).sum(0).cumsum()])
    return points[:, np.unique(np.searchsorted(along, np.linspace(0, along[-1], most)))]


def calibration_bins(is_right: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return of each of `ranking.NUM_BINS` bins that has any of m samples how many, and two means.

    Returns:
        `number`, the mean `score`, and the `share` that is right: their distances, weighted by the numbers,
        have `ranking.calibration_error` as their mean.
    """
    bins = bin_of(scores)
    number = np.bincount(bins, minlength=NUM_BINS)
    filled = number > 0
    score, share = (
        np.bincount(bins, weights=values, minlength=NUM_BINS)[filled] / number[filled]
        for values in (scores, is_right.astype(np.float64))
    )
    return {"number": number[filled].tolist(), "score": _rounded(score), "share": _rounded(share)}


def _curves(roc: NDArray[np.float64], precision_recall: NDArray[np.float64]) -> dict[str, Any]:
    recall, precision = precision_recall
    steps = float((np.diff(recall) * precision[1:]).sum())  # as average precision sums them
    (false_rate, true_rate), (recall, precision) = thinned(roc), thinned(precision_recall)
    return {
        "roc": {
            "area": round(float(auc(*roc)), _DIGITS),
            "false_positive_rate": _rounded(false_rate),
            "true_positive_rate": _rounded(true_rate),
        },
        "precision_recall": {
            "area": round(steps, _DIGITS),
            "recall": _rounded(recall),
            "precision": _rounded(precision),
        },
    }


def _mean_points(
    points: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean height of several ROCs, and of several curves of precision, at the same places."""
    places = np.linspace(0, 1, MOST_POINTS)
    true_rates = np.mean([np.interp(places, *roc) for roc, _ in points], axis=0)
    # precision is a step: what holds at the first recall that reaches the place
    precisions = np.mean(
        [curve[1, np.searchsorted(curve[0], places, side="left")] for _, curve in points], axis=0
    )
    from_origin = np.concatenate([[0.0], places]), np.concatenate([[0.0], true_rates])
    return np.stack(from_origin), np.stack([places, precisions])


def _rounded(values: NDArray[np.float64]) -> list[float]:
    found: list[float] = np.round(values, _DIGITS).tolist()
    return found
