"""The sections that the pages of both reports have, from the comparison of rows to how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dnabert_nemo.downstream.html_page import Beside, Cell, Figure, Section, Table, Text
from dnabert_nemo.downstream.report_markdown import p_value
from dnabert_nemo.downstream.svg_figures import (
    LARGE,
    SMALL,
    Line,
    interval_strip,
    strip_scale,
    swatch,
    unit_panel,
)

_ROC_AXES = ("false positive rate", "true positive rate")
_AREAS = {"roc": "AUROC", "precision_recall": "AUPRC"}
_PRECISION_AXES = ("recall", "precision")
_CALIBRATION_AXES = ("mean probability", "share that is so")


def over_seeds(report: Mapping[str, Any], metrics: Sequence[str]) -> list[Section]:
    """Show what models do on average that differ in their seed alone; no section where no two do."""
    groups = report["over_seeds"]
    if not groups:
        return []
    lines = []
    for name, group in groups.items():
        spreads: list[str | Cell] = [
            Cell(f"{spread['mean']:.4f}", f"± {spread['deviation']:.4f}" if len(group["models"]) > 1 else "")
            for spread in group["metrics"].values()
        ]
        beside: list[str | Cell] = [_difference(less) for less in group["first_less_this"].values()]
        lines.append([name, str(len(group["models"])), *spreads, *(beside or [""] * len(metrics))])
    above = [("", 2), ("mean, and deviation over seeds", len(metrics)), ("the first less this", len(metrics))]
    says = (
        "Models that differ in their seed alone: the mean, and the standard deviation over seeds. What the "
        "mean of the first has over the others has the 95 % interval of a bootstrap over the samples, with "
        "the seeds as they are."
    )
    shown = Table("Models over seeds", ["", "models", *metrics, *metrics], lines, above)
    return [Section("seeds", "Over seeds", says, [shown])]


def comparison(report: Mapping[str, Any], metrics: Sequence[str], of: str, samples: str) -> list[Section]:
    """Show what the first row has over each other, its MCC on a scale too; no section where it is alone."""
    first, *others = report["rows"]
    if not others:
        return []
    found = {name: report["rows"][name]["others_beside_it"][first] for name in others}
    on_scale = {name: beside["differences"]["mcc"] for name, beside in found.items()}
    scale = scale_of([0.0, *(end for each in on_scale.values() for end in each["interval"])])
    lines = []
    for number, (name, beside) in enumerate(found.items(), 1):
        cells = [_difference(each) for each in beside["differences"].values()]
        mcc = on_scale[name]
        alt = f"MCC of {first} less that of {name}: {mcc['difference']:+.4f}"
        strip = interval_strip(alt, mcc["difference"], mcc["interval"], scale, 0.0, number)
        alone = f"{beside['only_one']:,} / {beside['only_other']:,}"
        p = p_value(beside["mcnemar_p"])
        lines.append([name, *cells, strip, alone, p])
    header = ["", *metrics, strip_header("MCC", scale), "only it / only this", "p"]
    says = (
        f"What “{first}” has more than each other row, of {of}, with 95 % intervals of a paired bootstrap. "
        f"Then the {samples} that one of the two alone calls rightly, and McNemar's exact p."
    )
    shown = [Table(f"{first} less each other row", header, lines)]
    if len(others) > 1:
        shown.append(_pairs(report["rows"]))
    return [Section("comparison", "The first row beside the others, and any two", says, shown)]


def _pairs(rows: Mapping[str, Any]) -> Table:
    """Show the difference in MCC of any two rows, and McNemar's p below it."""
    names = list(rows)
    lines: list[list[str | Cell]] = []
    for at, name in enumerate(names[1:], 1):
        found = rows[name]["others_beside_it"]
        differences = [found[other]["differences"]["mcc"]["difference"] for other in names[:at]]
        told = [
            Cell(f"{difference:+.3f}", f"p {p_value(found[other]['mcnemar_p'])}")
            for other, difference in zip(names, differences, strict=False)
        ]
        lines.append([f"{at + 1}. {name}", *told, *[""] * (len(names) - 1 - at)])
    caption = f"The MCC of a column's row less that of a line's; 1 is {names[0]}"
    return Table(caption, ["", *(str(number) for number in range(1, len(names)))], lines)


def curves(report: Mapping[str, Any], says: str) -> Section:
    """Draw ROC and precision over recall of every row, two panels for each label."""
    rows = report["rows"]
    panels = []
    for label in next(iter(rows.values()))["curves"]:
        found = {name: row["curves"][label] for name, row in rows.items()}
        roc = [
            Line(
                f"{name}: AUROC {each['roc']['area']:.4f}",
                each["roc"]["false_positive_rate"],
                each["roc"]["true_positive_rate"],
                number,
            )
            for number, (name, each) in enumerate(found.items())
        ]
        # scikit-learn's end of the curve, at recall 0, is no threshold's: a step has the height of its end
        precision = [
            Line(
                f"{name}: AUPRC {each['precision_recall']['area']:.4f}",
                [0.0, *each["precision_recall"]["recall"][1:]],
                [each["precision_recall"]["precision"][1], *each["precision_recall"]["precision"][1:]],
                number,
                is_step=True,
            )
            for number, (name, each) in enumerate(found.items())
        ]
        for title, axes, drawn in (
            ("ROC", _ROC_AXES, roc),
            ("precision over recall", _PRECISION_AXES, precision),
        ):
            alt = _alt(f"{title} of {label}", drawn)
            panels.append((f"{label}: {title}", unit_panel(LARGE, alt, axes, drawn, diagonal=drawn is roc)))
    caption = "The dashed diagonal is a random order. Point at a line for its row and the area under it."
    figure = Figure(caption, panels, legend(rows))
    return Section("curves", "ROC and precision over recall", says, [figure, _areas(rows)])


def _areas(rows: Mapping[str, Any]) -> Table:
    labels = list(next(iter(rows.values()))["curves"])
    lines = [
        [name, *(f"{row['curves'][label][of]['area']:.4f}" for label in labels for of in _AREAS)]
        for name, row in rows.items()
    ]
    groups = [("", 1), *((label, len(_AREAS)) for label in labels)]
    return Table("Areas under the curves", ["", *(list(_AREAS.values()) * len(labels))], lines, groups)


def calls(report: Mapping[str, Any], labels: Sequence[str]) -> Section:
    """Show each row's table of true and called labels, shaded by the share of the true label."""
    tables = []
    for name, row in report["rows"].items():
        lines: list[list[str | Cell]] = []
        for true in labels:
            counts = [row["confusion"][true][called] for called in labels]
            total = max(1, sum(counts))
            cells = [Cell(f"{count:,}", f"{count / total:.1%}", count / total) for count in counts]
            lines.append([true, *cells])
        groups = [("", 1), ("called", len(labels))]
        tables.append(Table(name, ["true label", *labels], lines, groups, is_narrow=True))
    says = "Counts, and their share of the true label, which the ground is shaded by."
    return Section("calls", "Calls", says, [Beside(tables, least=min(1100, 90 + 80 * len(labels)))])


def calibration(report: Mapping[str, Any], says: str) -> Section:
    """Draw the share that is right over the probability given, a panel for each row."""
    rows = report["rows"]
    labels = list(next(iter(rows.values()))["calibration"])
    panels = []
    for name, row in rows.items():
        lines = []
        for number, label in enumerate(labels):
            bins = row["calibration"][label]
            total = sum(bins["number"])
            sizes = [2 + 7 * math.sqrt(count / total) for count in bins["number"]]
            missed = sum(
                count * abs(score - share) / total
                for count, score, share in zip(bins["number"], bins["score"], bins["share"], strict=True)
            )
            shown = f"{label}: calibration error {missed:.4f}"
            lines.append(Line(shown, bins["score"], bins["share"], number, sizes=sizes, is_faint=True))
        alt = _alt(f"Calibration of {name}", lines)
        panels.append((name, unit_panel(SMALL, alt, _CALIBRATION_AXES, lines, diagonal=True)))
    caption = (
        "A dot is one of 15 bins of probabilities that has any, its area by how many; on the diagonal, "
        "probabilities are what they say."
    )
    marks = [(swatch(number), label) for number, label in enumerate(labels)]
    return Section("calibration", "Calibration", says, [Figure(caption, panels, marks, columns=3)])


def errors(
    report: Mapping[str, Any], more: Mapping[str, Any], samples: str, note: str, words: Iterable[str] = ()
) -> Section:
    """List the surest errors of the first row.

    Args:
        more: what makes a cell of an error, by the header of its column.
        samples: what they are called.
        note: what else is to be said of those listed.
        words: those of these headers whose columns hold words.
    """
    first, row = next(iter(report["rows"].items()))
    found, total = row["errors"], sum(sum(each.values()) for each in row["confusion"].values())
    says = f"“{first}” calls {found['number']:,} of {total:,} {samples} wrongly."
    if not found["surest"]:
        return Section("errors", "Errors of the first row", says, [])
    header = ["true label", "called", "probability", *more, "line", "middle"]
    lines = []
    for each in found["surest"]:
        before, centre, after = each["middle"]
        bases = Markup("<code>{}<mark>{}</mark>{}</code>").format(before, centre, after)
        lines.append(
            [
                each["true"],
                each["called"],
                f"{each['probability']:.4f}",
                *(make(each) for make in more.values()),
                str(each["line"]),
                Cell(bases, is_bases=True),
            ]
        )
    are_words = {"called", "middle", *words}
    in_words = frozenset(at for at, title in enumerate(header) if title in are_words)
    caption = f"The {len(lines)} it is surest of; lines are those of {report['split']}.csv"
    shown = Table(caption, header, lines, words=in_words, least=5)
    says += f" The centre of the sequence is marked. {note}"
    return Section("errors", "Errors of the first row", says, [shown])


def repeating(report: Mapping[str, Any]) -> Section:
    """Show what repeating a report takes: command, seeds, versions and hashes."""
    dataset = report["dataset"]
    hashes = [[role, file["name"], file["sha256"]] for role, file in report["files"].items()]
    hashes += [["dataset", name, sha256] for name, sha256 in dataset["files"].items()]
    hashes += [["input", file["name"], file["sha256"]] for file in dataset["inputs"]]
    words = frozenset({1, 2})
    parts = [
        Text(report["command"], is_command=True),
        Beside(
            [
                Table(
                    "Versions",
                    ["package", "version"],
                    [list(pair) for pair in report["versions"].items()],
                    words=words,
                    is_narrow=True,
                ),
                Table(
                    "Seeds",
                    ["seed", "value"],
                    [[name, str(seed)] for name, seed in report["seeds"].items()],
                    is_narrow=True,
                ),
            ]
        ),
        Table("Files", ["what", "file", "sha256"], hashes, words=words, least=5),
    ]
    return Section("repeat", "To repeat it", "", parts)


def legend(rows: Iterable[str]) -> list[tuple[Markup, str]]:
    """Return the mark and the name of each row."""
    return [(swatch(number), name) for number, name in enumerate(rows)]


def with_interval(value: float, interval: Sequence[float]) -> Cell:
    """Return a figure with its interval below it."""
    return Cell(f"{value:.4f}", f"{interval[0]:.3f} to {interval[1]:.3f}")


def scale_of(values: Iterable[float]) -> tuple[float, float]:
    """Return a scale of whole tenths that holds all values."""
    found = list(values)
    low, high = math.floor(min(found) * 10) / 10, math.ceil(max(found) * 10) / 10
    return (low, high) if low < high else (low, low + 0.1)


def strip_header(title: str, scale: tuple[float, float]) -> Markup:
    """Return the header of a column of strips: its title above its scale."""
    return Markup("{}{}").format(title, strip_scale(scale))


def _difference(found: Mapping[str, Any]) -> Cell:
    low, high = found["interval"]
    return Cell(f"{found['difference']:+.4f}", f"{low:+.3f} to {high:+.3f}")


def _alt(what: str, lines: Sequence[Line]) -> str:
    return f"{what}. " + "; ".join(line.name for line in lines)
