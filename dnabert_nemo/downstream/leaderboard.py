"""The reports of several data sets in one table: each encoder's and baseline's MCC, and who is ahead."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from dnabert_nemo.downstream.over_seeds import groups_of
from dnabert_nemo.downstream.report import environment
from dnabert_nemo.downstream.report_markdown import table
from dnabert_nemo.shards.folder import publish

FILES = ("leaderboard.json", "leaderboard.md")


def leaderboard(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Rank the rows of reports by the names of their data sets.

    Returns:
        `entrants`, from the best: by name `datasets`, of each the `mean` MCC and its standard `deviation`
        over the `models` that differ in their seed (None of one), and its `rank`, 1 the best, those that are
        equal sharing the better one; and `mean_rank`, of those that are on all data sets, else None.
        `published` has the figures of the tasks that come with some. MCC is, of splice sites, the card's mean
        over donor and acceptor, and of a task that of its classes.
    """
    figures = {dataset: _figures(report["rows"]) for dataset, report in reports.items()}
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    entrants: dict[str, dict[str, Any]] = {name: {"datasets": {}, "mean_rank": None} for name in names}
    for dataset, found in figures.items():
        ranks = rankdata([-round(figure["mean"], 12) for figure in found.values()], method="min")
        for (name, figure), rank in zip(found.items(), ranks.tolist(), strict=True):
            entrants[name]["datasets"][dataset] = {**figure, "rank": int(rank)}
    for entrant in entrants.values():
        if len(entrant["datasets"]) == len(reports):
            entrant["mean_rank"] = float(np.mean([each["rank"] for each in entrant["datasets"].values()]))
    ordered = sorted(names, key=lambda name: (_place(entrants[name]["mean_rank"]), names.index(name)))
    return {
        "entrants": {name: entrants[name] for name in ordered},
        "published": {
            dataset: report["dataset"]["published"]
            for dataset, report in reports.items()
            if report["dataset"].get("published") is not None
        },
    }


def _place(mean_rank: float | None) -> float:
    return float("inf") if mean_rank is None else mean_rank


def _figures(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for group, names in groups_of(rows).items():
        values = [_mcc(rows[name]) for name in names]
        found[group] = {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "models": len(values),
        }
    return found


def _mcc(row: Mapping[str, Any]) -> float:
    return float(row["card"]["mean"]["mcc"] if "card" in row else row["metrics"]["mcc"])


def write_leaderboard(
    folder: Path, reports: Mapping[str, Mapping[str, Any]], *, command: str, seeds: Sequence[int]
) -> None:
    """Write leaderboard.json and leaderboard.md, in place of those of fewer reports."""
    board = {
        **leaderboard(reports),
        "datasets": {dataset: report["dataset"]["files"] for dataset, report in reports.items()},
        "command": command,
        "seeds": list(seeds),
        "versions": environment(),
    }
    with publish(folder, FILES, overwrite=True) as made:
        contents = json.dumps(board, indent=1) + "\n", render(board)
        for name, content in zip(FILES, contents, strict=True):
            (made / name).write_text(content, encoding="utf-8", newline="\n")


def render(board: Mapping[str, Any]) -> str:
    """Render the JSON leaderboard as Markdown."""
    datasets = list(board["datasets"])
    lines = [
        [name, _mean_rank(entrant), *(_cell(entrant["datasets"].get(dataset)) for dataset in datasets)]
        for name, entrant in board["entrants"].items()
    ]
    published = list(dict.fromkeys(name for told in board["published"].values() for name in told["rows"]))
    for name in published:
        told = [board["published"].get(dataset) for dataset in datasets]
        cells = [
            f"{each['rows'][name]:.4f}" if each and each["metric"] == "mcc" and name in each["rows"] else ""
            for each in told
        ]
        lines.append([f"published, {name}", "", *cells])
    sources = sorted({told["source"] for told in board["published"].values()})
    says = (
        "MCC on the test split and, after it, the standard deviation over the models that differ in their "
        "seed; in brackets the rank. Of splice sites it is the card's mean over donor and acceptor. Entrants "
        "with a figure on every data set are ordered by the mean of their ranks. An encoder called `-random` "
        "has first weights: what pre-training adds is what it lacks. Each data set's report has intervals."
    )
    if sources:
        says += f" Published: {'; '.join(sources)}."
    return "\n\n".join(
        [
            "# Leaderboard",
            says,
            table(["", "mean rank", *datasets], lines),
            f"```\n{board['command']}\n```",
            table(["package", "version"], [list(pair) for pair in board["versions"].items()]) + "\n",
        ]
    )


def _mean_rank(entrant: Mapping[str, Any]) -> str:
    return "" if entrant["mean_rank"] is None else f"{entrant['mean_rank']:.2f}"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    spread = "" if figure["deviation"] is None else f" ± {figure['deviation']:.4f}"
    return f"{figure['mean']:.4f}{spread} ({figure['rank']})"
