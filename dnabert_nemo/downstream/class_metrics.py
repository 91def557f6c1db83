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
from dnabert_nemo.downstream.metrics import binary_metrics, class_matrix
from dnabert_nemo.downstream.ranking import calibration_error

COUNTED = ("accuracy", "macro_f1", "mcc")
RANKED = ("auroc", "auprc", "brier", "calibration_error")

_RESAMPLES = 2000  # of counts
_RESAMPLES_RANKED = 500  # of samples, each of which is sorted anew


def table_metrics(table: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return COUNTED, each [...], of tables [..., C, C].

    Macro F1 is the mean of each class's F1 against the rest. MCC is that of C classes (Gorodkin 2004, Comput.
    Biol. Chem. 28:367), with two classes the one of Matthews; 0 where one class alone is true or called.
    """
    num_classes = table.shape[-1]
    total = table.sum((-2, -1)).astype(np.float64)
    right = np.trace(table, axis1=-2, axis2=-1).astype(np.float64)
    true, called = table.sum(-1).astype(np.float64), table.sum(-2).astype(np.float64)
    numerator = right * total - (true * called).sum(-1)
    squares = (total**2 - (called**2).sum(-1)) * (total**2 - (true**2).sum(-1))
    f1 = [binary_metrics(class_matrix(table, one))["f1"] for one in range(num_classes)]
    return {
        "accuracy": right / total,
        "macro_f1": np.mean(f1, axis=0),
        "mcc": np.divide(numerator, np.sqrt(squares), out=np.zeros_like(total), where=squares > 0),
    }


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
    ranked = _drawn_rankings(labels, probabilities, rng)
    measured = {name: float(value) for name, value in table_metrics(table).items()}
    return {
        "num_samples": len(labels),
        "metrics": measured | ranked_metrics(labels, probabilities),
        "intervals": {
            **{name: np.quantile(drawn[name], ends).tolist() for name in COUNTED},
            **{name: np.quantile(ranked[name], ends).tolist() for name in RANKED},
        },
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


def _drawn_rankings(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return RANKED of samples drawn with replacement; a draw that lacks a class is drawn again."""
    found: dict[str, list[float]] = {name: [] for name in RANKED}
    num_classes = probabilities.shape[1]
    while len(found["auroc"]) < _RESAMPLES_RANKED:
        drawn = rng.integers(0, len(labels), len(labels))
        if len(np.unique(labels[drawn])) == num_classes:
            for name, value in ranked_metrics(labels[drawn], probabilities[drawn]).items():
                found[name].append(value)
    return found
