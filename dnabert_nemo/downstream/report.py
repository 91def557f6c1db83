"""The splice report: the model card's table, our rows and the GT/AG rule's, and what repeating it takes.

`metrics.score` makes the rows; the JSON is the source, and the Markdown and the page are rendered from it.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.baselines import dinucleotide_rule
from dnabert_nemo.downstream.comparison import compare
from dnabert_nemo.downstream.metrics import CARD_METRICS, CLASS_METRICS, score
from dnabert_nemo.downstream.ranking import RANKINGS, rank, rank_intervals
from dnabert_nemo.downstream.report_curves import site_curves
from dnabert_nemo.downstream.report_errors import window_errors
from dnabert_nemo.downstream.report_markdown import (
    cells,
    comparison_section,
    over_seeds_sections,
    pairs_sections,
    repeat_section,
    table,
)
from dnabert_nemo.downstream.report_slices import SLICED, slice_lines, window_slices
from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceDataset, SpliceSplit
from dnabert_nemo.downstream.splice_page import render_splice_page
from dnabert_nemo.downstream.task_dataset import TaskDataset
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256

PUBLISHED_ROW = "published, dnabert-86M 1.0, other data"
RULE_ROW = "GT/AG rule, no model"

# The model card of dnabert-86M.nemo, version 1.0: it gives no intervals and no other metric.
PUBLISHED = {
    "donor": {"accuracy": 0.9491, "mcc": 0.8982, "f1": 0.9502},
    "acceptor": {"accuracy": 0.9345, "mcc": 0.8691, "f1": 0.9361},
    "mean": {"accuracy": 0.9418, "mcc": 0.8837, "f1": 0.9432},
}
THE_BAR = (
    "The GT/AG rule, which looks at the two middle bases and learns nothing, is the bar: "
    "a model that does not stand above its row knows no more about splicing than these two bases tell."
)

_PACKAGES = ("dnabert_nemo", "torch", "nemo_toolkit", "megatron-core", "lightning", "numpy", "scikit-learn")
FILES = ("report.json", "report.md", "report.html")
_MOST_CONTIGS_SHOWN = 20
_LIST_OF_NUMBERS = re.compile(r"\[\n[-+\d.eE,\s]+\]")  # a string has no line break in JSON
_SHOWN = ("acc", "MCC", "F1")  # CARD_METRICS, as they are written


def report_rows(
    windows: SpliceSplit, probabilities: Mapping[str, NDArray[np.floating]], *, seed: int
) -> dict[str, dict[str, Any]]:
    """Score named probabilities (each [n, 3]) on one split, with the GT/AG rule's row after them.

    The first row is the one that the others are compared with, window by window, and whose errors are listed.

    Raises:
        ValueError: probabilities of another shape, or a split that lacks a class.
    """
    calls = dinucleotide_rule(windows.sequences)
    rows = {**probabilities, RULE_ROW: np.eye(len(LABELS))[calls]}
    against = windows.against_labels if any(windows.against) else None
    calls_of = {name: found.argmax(1) for name, found in rows.items()}

    def beside(one: str, other: str) -> dict[str, Any]:
        return compare(windows.labels, calls_of[one], calls_of[other], against, seed=seed)

    found_rows = {
        name: {
            **score(windows.labels, found.argmax(1), against, seed=seed),
            "ranking": rank(windows.labels, found, against),
            "ranking_intervals": rank_intervals(windows.labels, found, against, seed=seed),
            "others_beside_it": others_beside(name, list(rows), beside),
            **site_curves(windows.labels, found, against),
            "slices": window_slices(windows, found.argmax(1)),
        }
        for name, found in rows.items()
    }
    name, found = next(iter(rows.items()))
    found_rows[name]["errors"] = window_errors(windows, found)
    return found_rows


def others_beside(
    name: str, names: Sequence[str], compared: Callable[[str, str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Compare each row before this one with it, by names: so any two rows are compared once."""
    return {other: compared(other, name) for other in names[: names.index(name)]}


def report_context(
    dataset: SpliceDataset | TaskDataset,
    *,
    split: str = "test",
    seeds: Mapping[str, int],
    command: Sequence[str],
    files: Mapping[str, str | Path],
    over_seeds: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect what a reader needs to repeat the numbers; `files` (such as the model) are named and hashed."""
    return {
        "split": split,
        "over_seeds": dict(over_seeds or {}),
        "dataset": dataset.manifest,
        "seeds": dict(seeds),
        "command": shlex.join(command),
        "files": {
            role: {"name": Path(path).name, "sha256": file_sha256(path)} for role, path in files.items()
        },
        "versions": environment(),
    }


def environment() -> dict[str, str]:
    """Return the version of Python and of each package the numbers depend on, importing none of them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def write_report(
    output_dir: str | Path,
    rows: Mapping[str, Mapping[str, Any]],
    context: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write FILES into a new folder and return it; the same rows give the same bytes.

    Raises:
        ConfigError: the folder is there already and `overwrite` is false.
    """
    report = {
        "title": "Splice sites",
        "the_bar": THE_BAR,
        "published": {"name": PUBLISHED_ROW, "card": PUBLISHED},
        "rows": dict(rows),
        **context,
    }
    return publish_report(output_dir, report, render_markdown, render_splice_page, overwrite=overwrite)


def publish_report(
    output_dir: str | Path,
    report: Mapping[str, Any],
    render: Callable[[Mapping[str, Any]], str],
    render_page: Callable[[Mapping[str, Any]], str],
    *,
    overwrite: bool,
) -> Path:
    """Write any report as `report.json`, and as the `report.md` and `report.html` that are made of it."""
    with publish(output_dir, FILES, overwrite=overwrite) as folder:
        contents = _as_json(report), render(report), render_page(report)
        for name, content in zip(FILES, contents, strict=True):
            (folder / name).write_text(content, encoding="utf-8", newline="\n")
    return Path(output_dir)


def _as_json(report: Mapping[str, Any]) -> str:
    """Write a report as JSON, a list of numbers in one line, as curves have hundreds of them."""
    text = json.dumps(report, indent=1)
    return _LIST_OF_NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def render_markdown(report: Mapping[str, Any]) -> str:
    """Render the JSON report as Markdown."""
    sections = [
        f"# {report['title']}\n\n{report['the_bar']}",
        _card_section(report),
        _detail_section(report),
        _ranking_section(report),
        *over_seeds_sections(report, _SHOWN),
        comparison_section(report, _SHOWN, "the card's means on the same windows", "windows"),
        *pairs_sections(report),
        _confusion_section(report),
        _slices_section(report),
        _dataset_section(report["dataset"]),
        repeat_section(report),
    ]
    return "\n\n".join(sections) + "\n"


def _card_section(report: Mapping[str, Any]) -> str:
    labels = ("donor", "acceptor", "mean")
    header = ["", *(f"{label} {metric}" for label in labels for metric in ("acc", "MCC", "F1"))]
    lines = [[report["published"]["name"], *_card_cells(report["published"]["card"], labels)]]
    lines += [[name, *_card_cells(row["card"], labels)] for name, row in report["rows"].items()]
    return (
        f"## The model card's table, {report['split']} split\n\n"
        "Donors against negatives and acceptors against negatives; a donor called acceptor (or the reverse) "
        "is a false positive of the label it was called. The published row comes from other windows than "
        "ours.\n\n" + table(header, lines)
    )


def _card_cells(card: Mapping[str, Mapping[str, float]], labels: Sequence[str]) -> list[str]:
    return [f"{card[label][metric]:.4f}" for label in labels for metric in CARD_METRICS]


def _detail_section(report: Mapping[str, Any]) -> str:
    header = [
        "",
        "mean acc",
        "mean MCC",
        "mean F1",
        "three-class acc",
        "macro-F1",
        "three-class MCC",
        "one-vs-rest acc / MCC / F1",
    ]
    lines = []
    for name, row in report["rows"].items():
        with_interval = cells(row["card"]["mean"], row["intervals"]["mean"], CARD_METRICS)
        three = cells(row["three_class"], row["intervals"]["three_class"], CLASS_METRICS)
        rest = " / ".join(f"{row['one_vs_rest']['mean'][metric]:.4f}" for metric in CARD_METRICS)
        lines.append([name, *with_interval, *three, rest])
    return (
        "## Intervals and other views\n\n"
        "95 % bootstrap intervals over the windows. One-vs-rest counts every other window as negative, so "
        "its figures do not compare with the card's.\n\n" + table(header, lines)
    )


def _ranking_section(report: Mapping[str, Any]) -> str:
    header = ["", "AUROC", "AUPRC", "Brier score", "calibration error"]
    lines = [
        [name, *cells(row["ranking"]["mean"], row["ranking_intervals"]["mean"], RANKINGS)]
        for name, row in report["rows"].items()
    ]
    return (
        "## Ranking and calibration\n\n"
        "Sites against negatives by the probability of the site's label, mean over donor and acceptor. A "
        "rule without probabilities is given 0 and 1.\n\n" + table(header, lines)
    )


def _confusion_section(report: Mapping[str, Any]) -> str:
    header = ["", "true label", *(f"called {label}" for label in LABELS)]
    lines = [
        [name, true, *(str(row["confusion"][true][called]) for called in LABELS)]
        for name, row in report["rows"].items()
        for true in LABELS
    ]
    return "## Calls\n\n" + table(header, lines)


def _slices_section(report: Mapping[str, Any]) -> str:
    tables = [table(*slice_lines(report["rows"], of)) for of in SLICED]
    return "\n\n".join(
        [
            "## By distance and motif",
            "The share of windows called what they are; distances are of negatives, to the nearest annotated "
            "site. A site's motif is the ends of its intron, a negative's its own two bases.",
            *tables,
        ]
    )


def _dataset_section(dataset: Mapping[str, Any]) -> str:
    counts = [
        [split, *(str(dataset["counts"][split][label]) for label in LABELS), _contigs(names)]
        for split, names in dataset["contigs"].items()
    ]
    dropped = [
        [reason, *(str(by_label.get(label, 0)) for label in LABELS)]
        for reason, by_label in dataset["dropped"].items()
    ]
    shares = [
        [label, *(f"{dataset['centre_shares'][label][bases]:.4f}" for bases in ("GT", "AG"))]
        for label in LABELS
    ]
    return "\n\n".join(
        [
            "## Dataset",
            f"Protocol `{dataset['protocol']}`: {dataset['says']}.",
            f"Windows of {dataset['window']} bp, seed {dataset['seed']}.",
            table(["split", *LABELS, "contigs"], counts),
            *_genomes(dataset),
            "Share of windows with GT and AG in the middle:",
            table(["", "GT", "AG"], shares),
            "Left out:",
            table(["reason", *LABELS], dropped),
        ]
    )


def _genomes(dataset: Mapping[str, Any]) -> list[str]:
    """Render what each genome gives, where there are several."""
    lines = [
        [name, split, *(str(count[label]) for label in LABELS)]
        for name, genome in dataset.get("genomes", {}).items()
        for split, count in genome["counts"].items()
    ]
    return ["By genome:", table(["genome", "split", *LABELS], lines)] if lines else []


def _contigs(names: Sequence[str]) -> str:
    more = len(names) - _MOST_CONTIGS_SHOWN
    return ", ".join(names[:_MOST_CONTIGS_SHOWN]) + (f" and {more} more" if more > 0 else "")
