"""Whether one row of a report does better than another, on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from dnabert_nemo.downstream.metrics import CARD_METRICS, card_view, confusion_rows
from dnabert_nemo.downstream.splice_dataset import LABELS


def compare(
    labels: NDArray[np.integer],
    one: NDArray[np.integer],
    other: NDArray[np.integer],
    against: NDArray[np.integer] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compare two rows' calls of the same n windows, class indices [n] each.

    Returns:
        `differences`: of the card's mean accuracy, MCC and F1, one minus other, with the percentile interval
        of a bootstrap that draws windows, each with both its calls (Efron and Tibshirani 1993, chapter 13).
        `only_one` and `only_other`: windows that one row alone calls rightly, and `mcnemar_p`, the exact
        two-sided probability of so uneven a pair (McNemar 1947), all classes taken together.
    """
    rows, num_rows = confusion_rows(labels, against)
    return compare_calls(
        labels,
        one,
        other,
        lambda tables: card_view(tables)["mean"],
        metrics=CARD_METRICS,
        rows=rows,
        shape=(num_rows, len(LABELS), len(LABELS)),
        seed=seed,
        resamples=resamples,
        level=level,
    )


def compare_calls(
    labels: NDArray[np.integer],
    one: NDArray[np.integer],
    other: NDArray[np.integer],
    measure: Callable[[NDArray[np.int64]], Mapping[str, NDArray[np.float64]]],
    *,
    metrics: Sequence[str],
    rows: NDArray[np.integer],
    shape: tuple[int, int, int],
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compare two rows' calls of any n samples as `compare` does, in `metrics` of what `measure` finds.

    Args:
        labels, one, other: class indices [n].
        measure: maps tables [..., R, C] of counts to metrics, each [...].
        rows: [n], the row of the table in which a sample counts.
        shape: R, C, C.
    """
    cells = np.ravel_multi_index((rows, one, other), shape)
    joint = np.bincount(cells, minlength=int(np.prod(shape)))
    rng = np.random.Generator(np.random.Philox(seed))
    draws = rng.multinomial(len(labels), joint / len(labels), size=resamples).reshape(-1, *shape)
    measured, drawn = (_differences(tables, measure, metrics) for tables in (joint.reshape(shape), draws))
    ends = [(1 - level) / 2, (1 + level) / 2]
    only_one = int(((one == labels) & (other != labels)).sum())
    only_other = int(((one != labels) & (other == labels)).sum())
    uneven = only_one + only_other
    return {
        "differences": {
            metric: {
                "difference": float(measured[metric]),
                "interval": np.quantile(drawn[metric], ends).tolist(),
            }
            for metric in metrics
        },
        "only_one": only_one,
        "only_other": only_other,
        "mcnemar_p": float(binomtest(only_one, uneven).pvalue) if uneven else 1.0,
    }


def _differences(
    joint: NDArray[np.int64],
    measure: Callable[[NDArray[np.int64]], Mapping[str, NDArray[np.float64]]],
    metrics: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Subtract the metrics of two rows, from counts [..., rows, called by one, by the other]."""
    one, other = measure(joint.sum(-1)), measure(joint.sum(-2))
    return {metric: one[metric] - other[metric] for metric in metrics}
