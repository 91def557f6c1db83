"""The report of a task as a page: our rows beside published figures, curves, calls and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabert_nemo.downstream import report_sections as shared
from dnabert_nemo.downstream.class_metrics import COUNTED, RANKED
from dnabert_nemo.downstream.html_page import Cell, Section, Table, render_page
from dnabert_nemo.downstream.report_errors import FLANK
from dnabert_nemo.downstream.svg_figures import interval_strip

_SHOWN = ("accuracy", "macro F1", "MCC")  # COUNTED, as they are written
_SHOWN_RANKED = ("AUROC", "AUPRC", "Brier score", "calibration error")


def render_task_page(report: Mapping[str, Any], *, is_changed: bool) -> str:
    """Render the JSON report as one page of HTML.

    Args:
        is_changed: the sequences are not those of the published figures.
    """
    dataset, rows = report["dataset"], report["rows"]
    labels = dataset["labels"]
    number = next(iter(rows.values()))["num_samples"]
    lead = [
        f"How well {number:,} sequences of the {report['split']} split are told apart as "
        f"{', '.join(labels[:-1])} or {labels[-1]}.",
        "The bar is the baselines, which learned from the same training sequences in the same run: what a "
        "language model adds is what it has over them. The majority class is what accuracy alone looks like.",
    ]
    of = labels[1] if len(labels) == 2 else "each class against the rest"
    sections = [
        _metrics(report, is_changed=is_changed),
        *shared.over_seeds(report, _SHOWN),
        *shared.comparison(report, _SHOWN, "the metrics on the same sequences", "sequences"),
        shared.curves(report, f"The curves are those of {of}, by its probability."),
        shared.calls(report, labels),
        shared.calibration(report, "The share rightly called among sequences called with like probability."),
        shared.errors(report, {"bases": _length}, "sequences", f"At most {2 * FLANK + 2} bases are shown."),
        _dataset(dataset),
        shared.repeating(report),
    ]
    return render_page(report["title"], lead, sections)


def _metrics(report: Mapping[str, Any], *, is_changed: bool) -> Section:
    rows, published = report["rows"], report["dataset"]["published"]
    says = "95 % bootstrap intervals over the sequences."
    figures = published["rows"] if published is not None else {}
    shown_by = published["metric"] if published is not None else "mcc"
    at = COUNTED.index(shown_by)
    ends = [end for row in rows.values() for end in row["intervals"][shown_by]]
    scale = shared.scale_of([*figures.values(), *ends])
    lines: list[list[str | Cell]] = []
    for number, (name, row) in enumerate(rows.items()):
        value, interval = row["metrics"][shown_by], row["intervals"][shown_by]
        alt = f"{_SHOWN[at]} of {name}: {value:.4f}, 95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
        counted, ranked = (
            [shared.with_interval(row["metrics"][metric], row["intervals"][metric]) for metric in metrics]
            for metrics in (COUNTED, RANKED)
        )
        lines.append([name, *counted, interval_strip(alt, value, interval, scale, None, number), *ranked])
    for number, (name, figure) in enumerate(figures.items(), len(lines)):
        cells = [f"{figure:.4f}" if place == at else "" for place in range(len(COUNTED))]
        strip = interval_strip(
            f"{_SHOWN[at]} of {name}, published: {figure:.4f}", figure, None, scale, None, number
        )
        lines.append([f"published, {name}", *cells, strip, *("" for _ in RANKED)])
    if published is not None:
        says += f" Published: {published['source']}."
        if is_changed:
            says += " Ours are of other sequences: some were left out, cropped or drawn anew."
    header = ["", *_SHOWN, shared.strip_header(_SHOWN[at], scale), *_SHOWN_RANKED]
    shown = Table(f"Figures on the {report['split']} split", header, lines)
    return Section("rows", "The rows", says, [shown])


def _dataset(dataset: Mapping[str, Any]) -> Section:
    header, counts = splits_of(dataset)
    found = [[what, f"{number:,}"] for what, number in counted_twice(dataset).items()]
    parts = [
        Table("Splits", header, counts, words=frozenset({len(header) - 1})),
        Table("What comes twice, and what was left out", ["sequences", "number"], found, is_narrow=True),
    ]
    return Section("dataset", "Data set", "", parts)


def splits_of(dataset: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return, as a table's header and lines, how many of each label a split has, and how long they are."""
    labels = dataset["labels"]
    lines = [
        [
            split,
            *(f"{dataset['counts'][split][label]:,}" for label in labels),
            *(f"{dataset['lengths'][split][which]:,}" for which in ("min", "median", "max")),
            made,
        ]
        for split, made in dataset["splits"].items()
    ]
    return ["split", *labels, "shortest", "median", "longest", "made"], lines


def counted_twice(dataset: Mapping[str, Any]) -> dict[str, int]:
    """Return how many sequences come twice, and how many were left out, by what is said of them."""
    twice = dataset["duplicates"]
    return {
        **{f"twice in {split}": number for split, number in twice["within"].items()},
        **{f"in {pair}": number for pair, number in twice["across"].items()},
        **{f"in {pair}, on the other strand": each for pair, each in twice["across_other_strand"].items()},
        "with several labels": twice["several_labels"],
        **{f"left out: {reason}": number for reason, number in dataset["removed"].items()},
        "cropped": dataset["cropped"],
    }


def _length(error: Mapping[str, Any]) -> str:
    return f"{error['length']:,}"
