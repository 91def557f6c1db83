"""The report of a scan: scan.json, scan.md rendered from it, and the curves of precision over recall."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.report import RULE_ROW
from dnabert_nemo.downstream.report_markdown import repeat_section, table
from dnabert_nemo.downstream.scan import Locus, counts
from dnabert_nemo.downstream.scan_plot import draw_curves
from dnabert_nemo.downstream.scan_rows import rule_scores
from dnabert_nemo.downstream.scan_scores import (
    AUPRC,
    METRICS,
    Ranking,
    bootstrap,
    figures,
    precision_recall,
    random_figures,
    ranking,
)
from dnabert_nemo.shards.folder import publish

JSON, MARKDOWN, CURVES = "scan.json", "scan.md", "precision_recall.png"
FILES = (JSON, MARKDOWN, CURVES)
RANDOM_ROW = "a random ranking"
TOP_K = "top_1k"
_LABELS = (*SITE_LABELS, "mean")
_BEHIND = 1e4  # more than there is between any two log-odds
_CURVE_POINTS = 101  # of recall, in the JSON; the plot has all

WHAT_IT_IS = (
    "Every position of genes on contigs that training did not see, on the strand of the gene: sites are as "
    "rare here as they are in genes, and decoys as many as there are. AUPRC is the average precision; top-k "
    "accuracy, as SpliceAI reports it, the share of the k positions of the highest scores that are sites, "
    "with k the number of sites."
)


def scan_report(
    loci: Sequence[Locus],
    rows: Iterable[tuple[str, NDArray[np.floating]]],
    context: Mapping[str, Any],
    *,
    seed: int,
    output_dir: str | Path,
    overwrite: bool = False,
) -> Path:
    """Take each row's scores [n, 2] as they come, and write FILES into a new folder, which is returned.

    The GT/AG rule's row is added, and of every other row what it is behind the rule.

    Raises:
        ConfigError: the folder is there already and `overwrite` is false.
    """
    of = counts(loci)
    with publish(output_dir, FILES, overwrite=overwrite) as folder:
        found, curves = _measured_rows(loci, rows, rule_scores(loci, context["dataset"]["window"]), seed)
        by_chance = {label: random_figures(of[label], of["positions"]) for label in SITE_LABELS}
        report = {
            "title": "Splice sites among all positions of genes",
            "what_it_is": WHAT_IT_IS,
            "counts": of,
            "genes": [list(locus.span.genes) for locus in loci],
            "random": _with_mean(by_chance),
            "rows": found,
            **context,
        }
        (folder / JSON).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8", newline="\n")
        (folder / MARKDOWN).write_text(render_scan(report), encoding="utf-8", newline="\n")
        prevalence = {label: by_chance[label][AUPRC] for label in SITE_LABELS}
        draw_curves(curves, prevalence, folder / CURVES)
    return Path(output_dir)


def _measured_rows(
    loci: Sequence[Locus],
    rows: Iterable[tuple[str, NDArray[np.floating]]],
    rule: NDArray[np.floating],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what JSON has of each row, the rule's last, and its curves of precision and recall."""
    is_site = np.concatenate([locus.is_site for locus in loci])
    locus_of = np.repeat(np.arange(len(loci), dtype=np.int32), list(map(len, loci)))

    def ranked(scores: NDArray[np.floating]) -> dict[str, Ranking]:
        return {
            label: ranking(scores[:, at], is_site[:, at], locus_of, len(loci))
            for at, label in enumerate(SITE_LABELS)
        }

    found, curves = {}, {}
    for name, scores in chain(rows, [(RULE_ROW, rule)]):
        rankings = ranked(scores)
        curves[name] = {label: precision_recall(own) for label, own in rankings.items()}
        found[name] = _measured(rankings, seed)
        found[name]["precision_at_recall"] = {
            label: _thinned(*curve) for label, curve in curves[name].items()
        }
        if name != RULE_ROW:
            behind = np.where(rule > 0, scores, scores.astype(np.float64) - _BEHIND)
            found[name]["behind_rule"] = _measured(ranked(behind), seed)
    return found, curves


def _measured(rankings: Mapping[str, Ranking], seed: int) -> dict[str, Any]:
    found = {label: figures(*own.cumulated()) for label, own in rankings.items()}
    return {"figures": _with_mean(found), "intervals": bootstrap(dict(rankings), seed=seed)}


def _with_mean(measured: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    mean = {metric: float(np.mean([own[metric] for own in measured.values()])) for metric in METRICS}
    return {**{label: dict(own) for label, own in measured.items()}, "mean": mean}


def _thinned(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return the precision where each of evenly spaced recalls is first reached."""
    asked = np.linspace(0, 1, _CURVE_POINTS)
    at = np.minimum(np.searchsorted(recall, asked - 1e-12), len(recall) - 1)
    return {"recall": asked.round(4).tolist(), "precision": precision[at].tolist()}


def render_scan(report: Mapping[str, Any]) -> str:
    """Render the JSON report as Markdown."""
    sections = [
        f"# {report['title']}\n\n{report['what_it_is']}",
        _main_section(report),
        _behind_section(report),
        _top_section(report),
        f"![Precision over recall]({CURVES})",
        _counts_section(report),
        repeat_section(report),
    ]
    return "\n\n".join(sections) + "\n"


def _main_section(report: Mapping[str, Any]) -> str:
    chance = [RANDOM_ROW, *_cells(report["random"], None)]
    return (
        "## Average precision and top-k accuracy\n\n"
        f"With 95 % bootstrap intervals over the {report['counts']['loci']:,} genes, whole ones drawn; genes "
        "that overlap on a strand are one. Positions of the same score count by what may be expected of "
        "their order.\n\n" + _figures_table(report["rows"], chance)
    )


def _behind_section(report: Mapping[str, Any]) -> str:
    rows = {name: row.get("behind_rule", row) for name, row in report["rows"].items()}
    return (
        "## Behind the GT/AG rule\n\n"
        "The same, with all positions that have the two bases of the site put before those that have not: "
        "what a row knows besides. Who learned from decoys alone has never seen a place without these bases, "
        "and its order of such places means nothing.\n\n" + _figures_table(rows)
    )


def _figures_table(rows: Mapping[str, Mapping[str, Any]], *others: Sequence[str]) -> str:
    header = ["", *(f"{label} {metric}" for label in _LABELS for metric in ("AUPRC", "top-k"))]
    lines = [[name, *_cells(row["figures"], row["intervals"])] for name, row in rows.items()]
    return table(header, [*lines, *others])


def _cells(own: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> list[str]:
    found = []
    for label in _LABELS:
        for metric in (AUPRC, TOP_K):
            low, high = intervals[label][metric] if intervals else (None, None)
            between = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            found.append(f"{own[label][metric]:.4f}{between}")
    return found


def _top_section(report: Mapping[str, Any]) -> str:
    tops = METRICS[1:]
    header = ["", *(f"{label} {top.removeprefix('top_')}" for label in SITE_LABELS for top in tops)]
    rows = {name: row["figures"] for name, row in report["rows"].items()} | {RANDOM_ROW: report["random"]}
    lines = [
        [name, *(f"{own[label][top]:.4f}" for label in SITE_LABELS for top in tops)]
        for name, own in rows.items()
    ]
    return (
        "## Of the highest-scoring positions, those that are sites\n\n"
        "Of as many positions as half, one, two and four times the sites there are; over k it is the share "
        "of sites that are among them.\n\n" + table(header, lines)
    )


def _counts_section(report: Mapping[str, Any]) -> str:
    of = report["counts"]
    names = ("positions", *SITE_LABELS)
    lines = [["scanned", *(f"{of[name]:,}" for name in names)]]
    lines += [
        [f"left out: {reason.replace('_', ' ')}", *(f"{count[name]:,}" for name in names)]
        for reason, count in of["lost"].items()
    ]
    dataset = report["dataset"]
    per = ", ".join(f"one {label} in {of['positions'] / of[label]:,.0f} positions" for label in SITE_LABELS)
    return (
        "## What was scanned\n\n"
        f"{of['genes']:,} genes of the test contigs of protocol `{dataset['protocol']}`, windows of "
        f"{dataset['window']} bp: {per}. Left out are windows that are not wholly on their contig, or have "
        "letters other than A, C, G, T.\n\n" + table(["", *names], lines)
    )
