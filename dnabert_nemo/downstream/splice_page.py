"""The splice report as a page: the model card's table, curves, slices by distance and motif, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabert_nemo.downstream import report_sections as shared
from dnabert_nemo.downstream.html_page import Beside, Cell, Figure, Section, Table, Text, render_page
from dnabert_nemo.downstream.metrics import CARD_METRICS, CLASS_METRICS, SITE_LABELS
from dnabert_nemo.downstream.ranking import RANKINGS
from dnabert_nemo.downstream.splice_dataset import LABELS
from dnabert_nemo.downstream.svg_figures import interval_strip, slices_panel

_SHOWN = ("accuracy", "MCC", "F1")  # CARD_METRICS, as they are written
_READ = "Sequences are read along their strand; places are counted from 1 along the contig's forward strand."
_SHOWN_RANKINGS = ("AUROC", "AUPRC", "Brier score", "calibration error")


def render_splice_page(report: Mapping[str, Any]) -> str:
    """Render the JSON report as one page of HTML."""
    dataset, rows = report["dataset"], report["rows"]
    number = next(iter(rows.values()))["num_windows"]
    lead = [
        f"How well {number:,} windows of {dataset['window']} bases are told apart as donors, acceptors and "
        f"negatives: the {report['split']} split of protocol {dataset['protocol']}, {dataset['says']}.",
        report["the_bar"],
    ]
    sections = [
        _glance(report),
        _card(report),
        *shared.over_seeds(report, _SHOWN),
        *shared.comparison(report, _SHOWN, "the card's means on the same windows", "windows"),
        shared.curves(
            report,
            "Sites against the negatives they meet, by the probability of the site's label. A rule without "
            "probabilities has one point.",
        ),
        shared.calls(report, LABELS),
        shared.calibration(
            report, "The share of sites among windows of like probability of being one, by the site's label."
        ),
        _slices(report),
        shared.errors(report, _OF_ERROR, "windows", _READ, words=("place", "motif", "what it is")),
        _dataset(dataset),
        shared.repeating(report),
    ]
    return render_page(report["title"], lead, sections)


def _glance(report: Mapping[str, Any]) -> Section:
    rows = report["rows"]
    published = report["published"]["card"]["mean"]["mcc"]
    ends = [end for row in rows.values() for end in row["intervals"]["mean"]["mcc"]]
    scale = shared.scale_of([published, *ends])
    bar = list(rows.values())[-1]["card"]["mean"]["mcc"]  # the rule's row is the last
    lines: list[list[str | Cell]] = []
    for number, (name, row) in enumerate(rows.items()):
        mcc, interval = row["card"]["mean"]["mcc"], row["intervals"]["mean"]["mcc"]
        ranked, of_ranked = row["ranking"]["mean"], row["ranking_intervals"]["mean"]
        three, of_three = row["three_class"], row["intervals"]["three_class"]
        alt = f"mean MCC of {name}: {mcc:.4f}, 95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
        lines.append(
            [
                name,
                f"{mcc:.4f}",
                interval_strip(alt, mcc, interval, scale, bar, number),
                *(shared.with_interval(ranked[metric], of_ranked[metric]) for metric in RANKINGS),
                *(shared.with_interval(three[metric], of_three[metric]) for metric in CLASS_METRICS),
            ]
        )
    told = report["published"]["name"]
    strip = interval_strip(f"mean MCC, {told}: {published:.4f}", published, None, scale, bar, len(lines))
    lines.insert(0, [told, f"{published:.4f}", strip, *("" for _ in range(7))])
    header = ["", "MCC", shared.strip_header("", scale), *_SHOWN_RANKINGS, "accuracy", "macro F1", "MCC"]
    says = (
        "MCC, ranking and calibration are means over donors and acceptors. The dashed line is the GT/AG "
        "rule's MCC."
    )
    groups = [("", 1), ("donors and acceptors against negatives", 6), ("three classes", 3)]
    return Section("rows", "The rows", says, [Table("Rows of this report", header, lines, groups)])


def _card(report: Mapping[str, Any]) -> Section:
    labels = (*SITE_LABELS, "mean")
    published = report["published"]
    lines: list[list[str | Cell]] = [
        [
            published["name"],
            *(f"{published['card'][label][metric]:.4f}" for label in labels for metric in CARD_METRICS),
        ]
    ]
    for name, row in report["rows"].items():
        cells = [
            shared.with_interval(row["card"][label][metric], row["intervals"][label][metric])
            for label in labels
            for metric in CARD_METRICS
        ]
        lines.append([name, *cells])
    says = (
        "Donors against negatives and acceptors against negatives; a donor called acceptor (or the reverse) "
        "is a false positive of the label it was called. The published row comes from other windows than "
        "ours and has no intervals; ours are 95 % bootstrap intervals over the windows."
    )
    header = ["", *(_SHOWN * len(labels))]
    groups = [("", 1), *((label, len(_SHOWN)) for label in labels)]
    shown = Table(f"The card's figures on the {report['split']} split", header, lines, groups)
    return Section("card", "The model card's table", says, [shown])


def _slices(report: Mapping[str, Any]) -> Section:
    rows = report["rows"]
    names = list(rows)
    first = rows[names[0]]["slices"]
    panels = []
    for group in dict.fromkeys(each["group"] for each in first["distance"]):
        of_group = [each for each in first["distance"] if each["group"] == group]
        shares = {
            number: [
                each["right"] / each["windows"]
                for each in row["slices"]["distance"]
                if each["group"] == group
            ]
            for number, row in enumerate(rows.values())
        }
        alt = f"Share of windows ({group}) called negative by the distance to the nearest site. " + "; ".join(
            f"{name}: " + ", ".join(f"{share:.2f}" for share in shares[number])
            for number, name in enumerate(names)
        )
        ticks = [each["slice"] for each in of_group]
        along = "bases to the nearest annotated site"
        panels.append((group, slices_panel(alt, along, ticks, shares, names)))
    parts: list[Any] = []
    if panels:
        caption = "Negatives called negative, by their distance to the nearest annotated site."
        parts.append(Figure(caption, panels, shared.legend(rows)))
    for of, title in (("distance", "By distance to the nearest annotated site"), ("motif", "By motif")):
        if first[of]:
            parts.append(_slice_table(title, rows, of))
    says = (
        "The share of windows that are called what they are, of three classes, with 95 % intervals. A site's "
        "motif is the first and last two bases of its intron; a negative's, its own two."
    )
    return Section("slices", "By distance and motif", says, parts)


def _slice_table(title: str, rows: Mapping[str, Any], of: str) -> Table:
    found = [row["slices"][of] for row in rows.values()]
    lines = []
    for alike in zip(*found, strict=True):
        one = alike[0]
        cells = [
            Cell(
                f"{each['right'] / each['windows']:.3f}",
                f"{each['interval'][0]:.3f} to {each['interval'][1]:.3f}",
            )
            for each in alike
        ]
        lines.append([one["group"], one["slice"], f"{one['windows']:,}", *cells])
    return Table(title, ["windows of", of, "windows", *rows], lines, words=frozenset({1}), least=11)


def _dataset(dataset: Mapping[str, Any]) -> Section:
    counts = [
        [split, *(f"{dataset['counts'][split][label]:,}" for label in LABELS), f"{len(names):,}"]
        for split, names in dataset["contigs"].items()
    ]
    dropped = [
        [reason.replace("_", " "), *(f"{by_label.get(label, 0):,}" for label in LABELS)]
        for reason, by_label in dataset["dropped"].items()
    ]
    shares = [
        [label, *(f"{dataset['centre_shares'][label][bases]:.4f}" for bases in ("GT", "AG"))]
        for label in LABELS
    ]
    parts = [
        Beside(
            [
                Table("Windows", ["split", *LABELS, "contigs"], counts, is_narrow=True),
                Table("Share with GT and AG in the middle", ["label", "GT", "AG"], shares, is_narrow=True),
                Table("Left out", ["reason", *LABELS], dropped, is_narrow=True),
            ],
            least=450,
        ),
        Text("The contigs of each split are in report.json."),
    ]
    says = f"Protocol {dataset['protocol']}, windows of {dataset['window']} bases, seed {dataset['seed']}."
    return Section("dataset", "Data set", says, parts)


def _place(error: Mapping[str, Any]) -> Cell:
    start = error["start"] + 1  # as genome browsers count
    return Cell(f"{error['contig']}:{start}-{start + 1}", f"{error['strand']} strand")


def _what(error: Mapping[str, Any]) -> str | Cell:
    if error["true"] in SITE_LABELS:
        return "site"
    kind = f"decoy of {error['against']}" if error["against"] else "random place"
    return Cell(kind, f"{error['distance']:,} bases from a site")


_OF_ERROR = {"place": _place, "motif": lambda error: error["motif"], "what it is": _what}
