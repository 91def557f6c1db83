"""The splice model card's metrics from labels and predictions; `splice_dataset` before it, `report` after.

Two binary views of the same three-class predictions are kept apart, because their numbers differ by percents.
*Sites against negatives* is the card's. *One against the rest* is the textbook one. With as many donors as
acceptors and negatives, the card's F1 .9502 at accuracy .9491 cannot come from one against the rest: there
F1 <= (2/3) / (2/3 + 1 - accuracy) = .929. It needs a matrix of as many positives as negatives.

Where negatives are decoys, a donor's tell nothing of acceptors, whose two bases they lack. So a table [5, 3]
has two more rows, decoys of donors and decoys of acceptors, and each site label meets its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import LABELS

SITE_LABELS = ("donor", "acceptor")
METRICS = ("accuracy", "mcc", "f1", "precision", "recall")
CARD_METRICS = METRICS[:3]  # those the card gives
CLASS_METRICS = ("accuracy", "macro_f1", "mcc")  # of any number of classes

_NEGATIVE = LABELS.index("negative")


def confusion_table(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    against: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Count windows by true class (row) and called class (column): [3, 3] from two [n] of class indices.

    Args:
        against: [n], of a decoy the class of its site, of all others that of negatives. With it the table is
            [5, 3], and its last two rows are the decoys of donors and those of acceptors.

    Raises:
        ValueError: no windows, arrays of different lengths, or an index that is no class.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    num_classes = len(LABELS)
    if labels.ndim != 1 or labels.shape != predictions.shape or labels.size == 0:
        raise ValueError(
            f"labels {labels.shape}, predictions {predictions.shape}: want two of one [n], n > 0"
        )
    for values in (labels, predictions):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(f"class indices are 0..{num_classes - 1}, not {values.min()}..{values.max()}")
    rows, num_rows = confusion_rows(labels, against)
    cells = rows * num_classes + predictions
    return np.bincount(cells, minlength=num_rows * num_classes).reshape(num_rows, num_classes)


def confusion_rows(
    labels: NDArray[np.integer], against: NDArray[np.integer] | None
) -> tuple[NDArray[np.int64], int]:
    """Return the row of `confusion_table` that each window counts in, [n], and how many rows there are."""
    rows = labels.astype(np.int64)
    if against is None:
        return rows, len(LABELS)
    is_decoy = (labels == _NEGATIVE) & (against != _NEGATIVE)
    return np.where(is_decoy, len(LABELS) + against, rows), len(LABELS) + len(SITE_LABELS)


def card_view(table: NDArray[np.int64]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return METRICS of donor, acceptor and mean as the card counts, each [...], of tables [..., R, 3]."""
    return _site_view(table, site_matrix)


def folded(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count decoys as negatives: [..., 3, 3] from tables [..., 5, 3], or those as they are."""
    found = table[..., : len(LABELS), :].copy()
    found[..., _NEGATIVE, :] = table[..., _NEGATIVE:, :].sum(-2)
    return found


def site_matrix(table: NDArray[np.int64], label: str) -> NDArray[np.int64]:
    """Reduce tables [..., 3 or 5, 3] to the card's binary matrix of a site label: [..., 4] as TP, FP, FN, TN.

    The windows are that label's sites and the negatives, its own where these are decoys. A site of the other
    kind stands in it only where it is called this label: a donor called acceptor is a false positive of
    acceptor, a false negative of donor.
    """
    one, other = LABELS.index(label), LABELS.index(_other_site(label))
    true = table[..., one, one]
    negatives = table[..., _NEGATIVE, :]
    if table.shape[-2] > len(LABELS):
        negatives = negatives + table[..., len(LABELS) + one, :]
    false_positives = table[..., other, one] + negatives[..., one]
    missed = table[..., one, :].sum(-1) - true
    rejected = negatives.sum(-1) - negatives[..., one]
    return np.stack([true, false_positives, missed, rejected], axis=-1)


def one_vs_rest_matrix(table: NDArray[np.int64], label: str) -> NDArray[np.int64]:
    """Reduce tables [..., 3 or 5, 3] to a label against all other windows: [..., 4] as TP, FP, FN, TN."""
    return class_matrix(folded(table), LABELS.index(label))


def class_matrix(table: NDArray[np.int64], one: int) -> NDArray[np.int64]:
    """Reduce tables [..., C, C] to one class against all others: [..., 4] as TP, FP, FN, TN."""
    true = table[..., one, one]
    false_positives = table[..., :, one].sum(-1) - true
    missed = table[..., one, :].sum(-1) - true
    return np.stack(
        [true, false_positives, missed, table.sum((-2, -1)) - true - false_positives - missed], axis=-1
    )


def binary_metrics(matrix: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, MCC, F1, precision and recall of matrices [..., 4] (TP, FP, FN, TN), each [...].

    A metric whose denominator is zero is 0, scikit-learn's convention: precision where nothing is called
    positive, recall where nothing is positive, F1 where neither is, MCC where a row or a column is empty.
    """
    tp, fp, fn, tn = np.moveaxis(matrix.astype(np.float64), -1, 0)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
    }


def score(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    against: NDArray[np.integer] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Score class indices [n] against the true ones as one JSON-ready report row, intervals included.

    `card` and `one_vs_rest` hold the metrics of donor, acceptor and their mean, `matrices` the TP, FP, FN, TN
    they come from, `three_class` CLASS_METRICS over the three labels, `intervals` the bootstrap's 95 %
    intervals of `card` and `three_class`.

    Raises:
        ValueError: as `confusion_table`.
    """
    table = confusion_table(labels, predictions, against)
    three = folded(table)
    return {
        "num_windows": int(table.sum()),
        "confusion": {
            true: {called: int(three[i, j]) for j, called in enumerate(LABELS)}
            for i, true in enumerate(LABELS)
        },
        "card": _as_floats(_site_view(table, site_matrix)),
        "one_vs_rest": _as_floats(_site_view(table, one_vs_rest_matrix)),
        "matrices": {
            view: {
                label: dict(zip(("tp", "fp", "fn", "tn"), reduce(table, label).tolist(), strict=True))
                for label in SITE_LABELS
            }
            for view, reduce in (("card", site_matrix), ("one_vs_rest", one_vs_rest_matrix))
        },
        "three_class": {name: float(value) for name, value in table_metrics(three).items()},
        "intervals": bootstrap_intervals(table, seed=seed, resamples=resamples),
    }


def table_metrics(table: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return CLASS_METRICS, each [...], of tables [..., C, C].

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


def bootstrap_intervals(
    table: NDArray[np.int64], *, seed: int, resamples: int = 2000, level: float = 0.95
) -> dict[str, dict[str, list[float]]]:
    """Return percentile intervals [low, high] of the card's metrics for donor, acceptor and their mean.

    And for `three_class`, of CLASS_METRICS, decoys as negatives.

    Drawing n windows with replacement and counting them is a multinomial draw over the table's cells, so
    no window is touched (Efron and Tibshirani 1993, chapter 13, for the percentile interval). Windows that
    overlap count as independent: where sites are dense the true intervals are somewhat wider.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    total = int(table.sum())
    draws = rng.multinomial(total, (table / total).ravel(), size=resamples).reshape(-1, *table.shape)
    ends = [(1 - level) / 2, (1 + level) / 2]
    return {
        label: {metric: np.quantile(values, ends).tolist() for metric, values in metrics.items()}
        for label, metrics in {
            **_site_view(draws, site_matrix),
            "three_class": table_metrics(folded(draws)),
        }.items()
    }


def _site_view(
    table: NDArray[np.int64], reduce: Callable[[NDArray[np.int64], str], NDArray[np.int64]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    view = {label: binary_metrics(reduce(table, label)) for label in SITE_LABELS}
    mean = {metric: np.mean([view[label][metric] for label in SITE_LABELS], axis=0) for metric in METRICS}
    return {**view, "mean": mean}


def _as_floats(view: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, dict[str, float]]:
    return {label: {metric: float(value) for metric, value in view[label].items()} for label in view}


def _other_site(label: str) -> str:
    return SITE_LABELS[1 - SITE_LABELS.index(label)]


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
