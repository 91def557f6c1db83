"""What reports of splice sites and of tasks share in Markdown: rows beside each other, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def comparison_section(report: Mapping[str, Any], metrics: Sequence[str], of: str, samples: str) -> str:
    """Render what the first row has over each other, in metrics `of` what is said, and whether by chance."""
    first, *others = report["rows"]
    header = [
        "",
        *(f"{metric}: {first} less this" for metric in metrics),
        "only it / only this",
        "p",
    ]
    lines = []
    for name in others:
        beside = report["rows"][name]["others_beside_it"][first]
        cells = [
            f"{found['difference']:+.4f} [{found['interval'][0]:+.4f}, {found['interval'][1]:+.4f}]"
            for found in beside["differences"].values()
        ]
        alone = f"{beside['only_one']} / {beside['only_other']}"
        lines.append([name, *cells, alone, p_value(beside["mcnemar_p"])])
    return (
        f"## {first}, beside the others\n\n"
        f"Differences of {of}, with 95 % intervals of a paired bootstrap; "
        f"{samples} that one of the two alone calls rightly, and McNemar's exact p.\n\n"
        + table(header, lines)
    )


def pairs_sections(report: Mapping[str, Any]) -> list[str]:
    """Render what any row has over any other in MCC, and McNemar's p; nothing of two rows or fewer."""
    names = list(report["rows"])
    if len(names) <= 2:
        return []
    lines = []
    for at, name in enumerate(names[1:], 1):
        found = report["rows"][name]["others_beside_it"]
        differences = [found[other]["differences"]["mcc"]["difference"] for other in names[:at]]
        told = [
            f"{difference:+.3f} (p {p_value(found[other]['mcnemar_p'])})"
            for other, difference in zip(names, differences, strict=False)
        ]
        lines.append([f"{at + 1}. {name}", *told, *[""] * (len(names) - 1 - at)])
    return [
        "## Any two rows\n\n"
        "By how much the MCC of a column's row is above that of a line's, and McNemar's exact p of their "
        f"calls. 1 is {names[0]}; `report.json` has the intervals.\n\n"
        + table(["", *(str(number) for number in range(1, len(names)))], lines)
    ]


def over_seeds_sections(report: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """Render what models do on average that differ in their seed alone; nothing where no two do."""
    groups = report["over_seeds"]
    if not groups:
        return []
    first = next(iter(groups))
    header = ["", "models", *metrics, *(f"{metric}: {first} less this" for metric in metrics)]
    lines = []
    for group, row in groups.items():
        spreads = [
            f"{spread['mean']:.4f}" + (f" ± {spread['deviation']:.4f}" if len(row["models"]) > 1 else "")
            for spread in row["metrics"].values()
        ]
        beside = [
            f"{less['difference']:+.4f} [{less['interval'][0]:+.4f}, {less['interval'][1]:+.4f}]"
            for less in row["first_less_this"].values()
        ]
        lines.append([group, str(len(row["models"])), *spreads, *(beside or [""] * len(metrics))])
    return [
        "## Over seeds\n\n"
        "Models that differ in their seed alone: the mean, and the standard deviation over seeds. What the "
        "mean of the first has over the others has the 95 % interval of a bootstrap over the samples, with "
        "the seeds as they are.\n\n" + table(header, lines)
    ]


def repeat_section(report: Mapping[str, Any]) -> str:
    """Render what repeating a report takes: command, seeds, versions and hashes."""
    dataset = report["dataset"]
    hashes = [[role, file["name"], file["sha256"]] for role, file in report["files"].items()]
    hashes += [["dataset", name, sha256] for name, sha256 in dataset["files"].items()]
    hashes += [
        [f"input {file.get('genome', '')}".strip(), file["name"], file["sha256"]]
        for file in dataset["inputs"]
    ]
    return "\n\n".join(
        [
            "## To repeat it",
            f"```\n{report['command']}\n```",
            table(["seed", "value"], [[name, str(seed)] for name, seed in report["seeds"].items()]),
            table(["package", "version"], [list(pair) for pair in report["versions"].items()]),
            table(["", "file", "sha256"], hashes),
        ]
    )


def p_value(p: float) -> str:
    """Write a probability that may be less than a float can be."""
    return f"{p:.2g}" if p else "< 1e-300"


def cells(
    values: Mapping[str, float], intervals: Mapping[str, Sequence[float]], metrics: Sequence[str]
) -> list[str]:
    """Render figures with their intervals."""
    return [
        f"{values[metric]:.4f} [{low:.4f}, {high:.4f}]"
        for metric in metrics
        for low, high in [intervals[metric]]
    ]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Render a table as Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
