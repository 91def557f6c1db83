"""Metrics of any number of classes, with intervals; `task_report` after, as `metrics` is for splice sites.

n samples, C classes. A table [C, C] counts samples by true class (row) and called class (column).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from dnabert_nemo.downstream.comparison import compare_calls
from dnabert_nemo.downstream.drawing import drawn_samples
from dnabert_nemo.downstream.metrics import CLASS_METRICS, table_metrics
from dnabert_nemo.downstream.ranking import NUM_BINS, areas_under, bin_of, calibration_error

COUNTED = CLASS_METRICS
RANKED = ("auroc", "auprc", "brier", "calibration_error")

_RESAMPLES = 2000


def ranked_metrics(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Return RANKED of class indices [n] and the probabilities [n, C] they were given.

    AUROC and AUPRC are those of the second class where there are two, else the mean over each class against
    the rest. The Brier score is the mean square of what the second class's probability misses, or with more
    than two classes the sum of the squares of all (Brier 1950). The calibration error is that of the class
    called.

    Raises:
        ValueError: a class has no sample.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    if not truth.any(0).all():
        raise ValueError(
            f"a class without a sample ranks nothing: {truth.sum(0).astype(int).tolist()} of each"
        )
    is_binary = probabilities.shape[1] == 2
    columns = [1] if is_binary else range(probabilities.shape[1])
    found = {
        name: float(np.mean([area(truth[:, one], probabilities[:, one]) for one in columns]))
        for name, area in (("auroc", roc_auc_score), ("auprc", average_precision_score))
    }
    squares = ((probabilities - truth) ** 2).sum(1).mean()
    called = probabilities.argmax(1)
    return {
        **found,
        "brier": float(squares / 2 if is_binary else squares),
        "calibration_error": calibration_error(called == labels, probabilities.max(1).astype(np.float64)),
    }


def score_classes(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    names: tuple[str, ...],
    *,
    seed: int,
    level: float = 0.95,
) -> dict[str, Any]:
    """Score probabilities [n, C] against class indices [n] as one JSON-ready report row.

    `metrics` holds COUNTED and RANKED, `intervals` the percentile intervals of a bootstrap that draws samples
    (Efron and Tibshirani 1993, chapter 13), `confusion` the table by the classes' `names`.

    Raises:
        ValueError: probabilities of another shape, or a class has no sample.
    """
    if probabilities.shape != (len(labels), len(names)):
        raise ValueError(f"{len(labels)} labels, probabilities {probabilities.shape}: want [n, {len(names)}]")
    table = confusion_matrix(labels, probabilities.argmax(1), labels=range(len(names)))
    ends = [(1 - level) / 2, (1 + level) / 2]
    rng = np.random.Generator(np.random.Philox(seed))
    draws = rng.multinomial(len(labels), table.ravel() / len(labels), size=_RESAMPLES)
    drawn = table_metrics(draws.reshape(-1, *table.shape))
    drawn |= _drawn_rankings(labels, probabilities, rng)
    measured = {name: float(value) for name, value in table_metrics(table).items()}
    return {
        "num_samples": len(labels),
        "metrics": measured | ranked_metrics(labels, probabilities),
        "intervals": {name: np.quantile(values, ends).tolist() for name, values in drawn.items()},
        "confusion": {
            true: dict(zip(names, row, strict=True)) for true, row in zip(names, table.tolist(), strict=True)
        },
    }


def compare_classes(
    labels: NDArray[np.integer],
    one: NDArray[np.integer],
    other: NDArray[np.integer],
    num_classes: int,
    *,
    seed: int,
) -> dict[str, Any]:
    """Compare two rows' calls of the same n samples in COUNTED, as `comparison.compare` does."""
    measure: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]] = table_metrics
    return compare_calls(
        labels, one, other, measure, metrics=COUNTED, rows=labels, shape=(num_classes,) * 3, seed=seed
    )


def weighted_rankings(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return RANKED, [4, R], where a row of `weights` [R, n], n in all, says how often each counts.

    A thousand draws at once, where scikit-learn's functions sort each anew. nan where a row lacks a class.
    """
    num_samples, num_classes = probabilities.shape
    truth = np.eye(num_classes)[labels]
    columns = [1] if num_classes == 2 else range(num_classes)
    of_each = [areas_under(truth[:, one] == 1, probabilities[:, one], weights) for one in columns]
    areas = np.mean(of_each, axis=0)
    squares = ((probabilities - truth) ** 2).sum(1) / (2 if num_classes == 2 else 1)
    surest = probabilities.max(1).astype(np.float64)
    is_right = probabilities.argmax(1) == labels
    in_bin = np.eye(NUM_BINS)[bin_of(surest)] * (surest - is_right)[:, None]
    missed = np.abs(weights @ in_bin).sum(1)
    return np.stack([*areas, weights @ squares / num_samples, missed / num_samples])


def _drawn_rankings(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return RANKED of samples drawn with replacement, [R] each; a draw that lacks a class is left out."""
    draws = drawn_samples(rng, len(labels), _RESAMPLES)
    found = np.concatenate([weighted_rankings(labels, probabilities, part) for part in draws], axis=1)
    return dict(zip(RANKED, found[:, np.isfinite(found).all(0)], strict=True))
