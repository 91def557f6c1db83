"""What models that differ in their seed alone do on average, and by how much; beside each row of a report.

Their files are named alike but for an ending `-seed7`, as `benchmark_suite` names them. n samples, tables
[R, C] as of `comparison.compare_calls`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.class_metrics import COUNTED
from dnabert_nemo.downstream.drawing import drawn_samples
from dnabert_nemo.downstream.metrics import CARD_METRICS, card_view, confusion_rows, table_metrics
from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceSplit
from dnabert_nemo.downstream.task_dataset import TaskSplit

_with_seed = re.compile(r"(.+)-seed(\d+)").fullmatch
_RESAMPLES = 1000

Measure = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]


def seeded_name(name: str, seed: int) -> str:
    """Name one of several models that differ in their seed."""
    return f"{name}-seed{seed}"


def groups_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Put names together that differ in their seed alone, in order; a name without one stands by itself."""
    groups: dict[str, list[str]] = {}
    for name in names:
        found = _with_seed(name)
        groups.setdefault(found[1] if found else name, []).append(name)
    return groups


def classes_over_seeds(
    part: TaskSplit, probabilities: Mapping[str, NDArray[np.floating]], *, seed: int
) -> dict[str, Any]:
    """Do what `over_seeds` does in accuracy, macro F1 and MCC over the classes of a task."""
    calls = {name: found.argmax(1) for name, found in probabilities.items()}
    num_classes = next(iter(probabilities.values())).shape[1]
    return over_seeds(calls, part.labels, (num_classes, num_classes), table_metrics, COUNTED, seed=seed)


def sites_over_seeds(
    windows: SpliceSplit, probabilities: Mapping[str, NDArray[np.floating]], *, seed: int
) -> dict[str, Any]:
    """Do what `over_seeds` does in the card's means over donor and acceptor."""
    calls = {name: found.argmax(1) for name, found in probabilities.items()}
    against = windows.against_labels if any(windows.against) else None
    rows, num_rows = confusion_rows(windows.labels, against)

    def measure(tables: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64]]:
        return card_view(tables)["mean"]

    return over_seeds(calls, rows, (num_rows, len(LABELS)), measure, CARD_METRICS, seed=seed)


def over_seeds(
    calls: Mapping[str, NDArray[np.integer]],
    rows: NDArray[np.integer],
    shape: tuple[int, int],
    measure: Measure,
    metrics: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
) -> dict[str, Any]:
    """Average metrics over models that differ in their seed; nothing where no two do.

    Args:
        calls: the class that each model calls each sample, [n], by names as `seeded_name` makes them.
        rows: [n], the row of the table in which a sample counts.
        shape: R, C of a table.
        measure: maps tables [..., R, C] of counts to metrics, each [...].

    Returns:
        By group the names of its `models`; of each of the `metrics` the `mean` and standard `deviation` over
        the seeds (with n - 1; None of one model); and of all groups but the first `first_less_this`, what
        the first's mean has over theirs, with the percentile interval of a bootstrap that draws samples, each
        with the calls of all models (Efron and Tibshirani 1993, chapter 13). The seeds are the same in each
        draw: the interval tells of other samples, the deviation of other seeds.
    """
    groups = groups_of(calls)
    if all(len(names) == 1 for names in groups.values()):
        return {}
    cells = {name: rows * shape[1] + called for name, called in calls.items()}
    tables = {name: np.bincount(found, minlength=shape[0] * shape[1]) for name, found in cells.items()}
    measured = {
        name: {metric: float(measure(table.reshape(shape))[metric]) for metric in metrics}
        for name, table in tables.items()
    }
    drawn = {name: dict.fromkeys(metrics, np.empty(0)) for name in calls}
    rng = np.random.Generator(np.random.Philox(seed))
    for weights in drawn_samples(rng, len(rows), _RESAMPLES):
        for name, found in cells.items():
            one_hot = np.eye(shape[0] * shape[1])[found]
            again = measure((weights @ one_hot).reshape(-1, *shape))
            drawn[name] = {metric: np.append(drawn[name][metric], again[metric]) for metric in metrics}
    first = next(iter(groups.values()))
    ends = [(1 - level) / 2, (1 + level) / 2]

    def less(names: list[str], metric: str) -> dict[str, Any]:
        found, again = (_mean(of, first, metric) - _mean(of, names, metric) for of in (measured, drawn))
        return {"difference": float(found), "interval": np.quantile(again, ends).tolist()}

    return {
        group: {
            "models": names,
            "metrics": {metric: _spread([measured[name][metric] for name in names]) for metric in metrics},
            "first_less_this": {} if names is first else {metric: less(names, metric) for metric in metrics},
        }
        for group, names in groups.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}


def _mean(of: Mapping[str, Mapping[str, Any]], names: Sequence[str], metric: str) -> Any:
    return np.mean([of[name][metric] for name in names], axis=0)
