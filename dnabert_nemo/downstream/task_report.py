"""The report of a task: published figures, our rows and those of baselines, and what repeating it takes.

`class_metrics` makes the rows; the JSON is the source, and the Markdown and the page are rendered from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.class_metrics import COUNTED, RANKED, compare_classes, score_classes
from dnabert_nemo.downstream.report import others_beside, publish_report
from dnabert_nemo.downstream.report_curves import class_curves
from dnabert_nemo.downstream.report_errors import errors
from dnabert_nemo.downstream.report_markdown import (
    cells,
    comparison_section,
    over_seeds_sections,
    pairs_sections,
    repeat_section,
    table,
)
from dnabert_nemo.downstream.task_dataset import TaskSplit
from dnabert_nemo.downstream.task_page import counted_twice, render_task_page, splits_of

_SHOWN = ("accuracy", "macro F1", "MCC")  # COUNTED, as they are written
_SHOWN_RANKED = ("AUROC", "AUPRC", "Brier score", "calibration error")


def task_rows(
    part: TaskSplit,
    probabilities: Mapping[str, NDArray[np.floating]],
    names: tuple[str, ...],
    *,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Score named probabilities (each [n, C]) on one split; the first row is compared with the others.

    Its errors are listed too.

    Raises:
        ValueError: probabilities of another shape, or a split that lacks a class.
    """
    calls_of = {name: found.argmax(1) for name, found in probabilities.items()}

    def beside(one: str, other: str) -> dict[str, Any]:
        return compare_classes(part.labels, calls_of[one], calls_of[other], len(names), seed=seed)

    rows = {
        name: {
            **score_classes(part.labels, found, names, seed=seed),
            "others_beside_it": others_beside(name, list(probabilities), beside),
            **class_curves(part.labels, found, names),
        }
        for name, found in probabilities.items()
    }
    name, found = next(iter(probabilities.items()))
    rows[name]["errors"] = errors(part.sequences, part.labels, found, names)
    return rows


def write_task_report(
    output_dir: str | Path,
    rows: Mapping[str, Mapping[str, Any]],
    context: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write `report.FILES` into a new folder and return it; the same rows give the same bytes.

    Raises:
        ConfigError: the folder is there already and `overwrite` is false.
    """
    report = {"title": f"Task {context['dataset']['name']}", "rows": dict(rows), **context}
    return publish_report(output_dir, report, render_task, _render_page, overwrite=overwrite)


def render_task(report: Mapping[str, Any]) -> str:
    """Render the JSON report as Markdown."""
    sections = [
        f"# {report['title']}",
        _metrics_section(report),
        _ranking_section(report),
        *over_seeds_sections(report, _SHOWN),
        comparison_section(report, _SHOWN, "the metrics on the same sequences", "sequences"),
        *pairs_sections(report),
        _confusion_section(report),
        _dataset_section(report["dataset"]),
        repeat_section(report),
    ]
    return "\n\n".join(sections) + "\n"


def _render_page(report: Mapping[str, Any]) -> str:
    return render_task_page(report, is_changed=_is_changed(report))


def _metrics_section(report: Mapping[str, Any]) -> str:
    rows = report["rows"]
    lines = [[name, *cells(row["metrics"], row["intervals"], COUNTED)] for name, row in rows.items()]
    says = "95 % bootstrap intervals over the sequences."
    published = report["dataset"]["published"]
    if published is not None:
        at = COUNTED.index(published["metric"])
        for name, figure in published["rows"].items():
            of_it = [f"{figure:.4f}" if place == at else "" for place in range(len(COUNTED))]
            lines.append([f"published, {name}", *of_it])
        says += f" Published: {published['source']}."
        if _is_changed(report):
            says += " Ours are of other sequences: some were left out, cropped or drawn anew."
    return f"## Metrics, {report['split']} split\n\n{says}\n\n" + table(["", *_SHOWN], lines)


def _is_changed(report: Mapping[str, Any]) -> bool:
    """Tell whether the test sequences are not the published ones."""
    dataset = report["dataset"]
    is_whole = not any(dataset["removed"].values()) and not dataset["cropped"]
    return report["split"] != "test" or dataset["splits"]["test"] != "as given" or not is_whole


def _ranking_section(report: Mapping[str, Any]) -> str:
    lines = [[name, *cells(row["metrics"], row["intervals"], RANKED)] for name, row in report["rows"].items()]
    labels = report["dataset"]["labels"]
    of = f"`{labels[1]}`" if len(labels) == 2 else "each class against the rest, their mean"
    return (
        f"## Ranking and calibration\n\nAUROC and AUPRC of {of}; calibration error of the class called.\n\n"
        + table(["", *_SHOWN_RANKED], lines)
    )


def _confusion_section(report: Mapping[str, Any]) -> str:
    labels = report["dataset"]["labels"]
    lines = [
        [name, true, *(str(row["confusion"][true][called]) for called in labels)]
        for name, row in report["rows"].items()
        for true in labels
    ]
    return "## Calls\n\n" + table(["", "true label", *(f"called {label}" for label in labels)], lines)


def _dataset_section(dataset: Mapping[str, Any]) -> str:
    found = [[what, str(number)] for what, number in counted_twice(dataset).items()]
    return "\n\n".join(["## Dataset", table(*splits_of(dataset)), table(["sequences", "number"], found)])
