"""The page of a report: well formed, whole in itself, and no tags in it but its own."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest

from dnabert_nemo.downstream.html_page import TEMPLATE
from dnabert_nemo.downstream.over_seeds import sites_over_seeds
from dnabert_nemo.downstream.prepare_task import prepare_task
from dnabert_nemo.downstream.report import RULE_ROW, report_context, report_rows, write_report
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, load_splice_dataset
from dnabert_nemo.downstream.task_dataset import TaskDataset, load_task_dataset
from dnabert_nemo.downstream.task_report import task_rows, write_task_report
from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
HOSTILE = "<script>alert('1')</script>\"><img src=http://x.example/y onerror=alert(2)>"
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its tags in balance, its attributes, its text by the tag it is in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check(html: str) -> Page:
    """See that a page is well formed, needs nothing from elsewhere, and can be read without its figures."""
    page = Page(html)
    assert html.startswith("<!doctype html>")
    for tag in ("script", "link", "img", "iframe", "object", "embed", "base", "form"):
        assert page.of(tag) == []
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert "@import" not in html
    assert re.findall(r"url\((?!data:)", html) == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in page.of("a")} <= {f"#{name}" for name in ids}
    for svg in page.of("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    assert all(cell["scope"] in ("col", "row", "colgroup") for cell in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    assert not re.search(r"\b(nan|None|inf)\b", " ".join(text for _, text in page.text))
    assert "nan" not in " ".join(str(attributes.get("d")) for attributes in page.of("path"))
    return page


def sections(page: Page) -> list[str | None]:
    return [attributes["id"] for attributes in page.of("section")]


@pytest.fixture(scope="module")
def dataset(splice_dir: Path) -> SpliceDataset:
    return load_splice_dataset(splice_dir)


def splice_rows(dataset: SpliceDataset, name: str = "ours") -> dict[str, Any]:
    labels = dataset.splits["test"].labels
    logits = 2 * np.eye(3)[labels] + np.random.default_rng(1).normal(size=(len(labels), 3))
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return report_rows(dataset.splits["test"], {name: found, "flat": np.full_like(found, 1 / 3)}, seed=1)


def context(dataset: SpliceDataset | TaskDataset, command: str = "benchmark.py") -> dict[str, Any]:
    return report_context(dataset, seeds={"bootstrap": 1}, command=["python", command], files={})


def test_the_splice_page_holds_all_of_the_report(dataset: SpliceDataset, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", splice_rows(dataset), context(dataset))
    html, report = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    page = check(html)
    assert sections(page) == [
        "rows", "card", "comparison", "curves", "calls", "calibration", "slices", "errors",
        "dataset", "repeat",
    ]  # fmt: skip
    panels = [svg["aria-label"] or "" for svg in page.of("svg") if svg.get("class") == "panel"]
    assert [panel.split(".")[0] for panel in panels] == [
        "ROC of donor", "precision over recall of donor",
        "ROC of acceptor", "precision over recall of acceptor",
        "Calibration of ours", "Calibration of flat", f"Calibration of {RULE_ROW}",
        "Share of windows (negative) called negative by the distance to the nearest site",
    ]  # fmt: skip
    text = " ".join(text for _, text in page.text)
    for row in report["rows"].values():
        assert f"{row['card']['donor']['mcc']:.4f}" in text
        low, high = row["intervals"]["mean"]["mcc"]
        assert f"{low:.3f} to {high:.3f}" in text
    assert "0.9491" in text and report["the_bar"] in text and report["command"] in text
    for sha256 in report["dataset"]["files"].values():
        assert sha256 in text
    for version in report["versions"].values():
        assert version in text
    shown = report["rows"]["ours"]["errors"]["surest"]
    assert [centre for tag, centre in page.text if tag == "mark"] == [each["middle"][1] for each in shown]
    assert shown[0]["contig"] in text
    assert len((folder / "report.json").read_bytes()) < 200_000


def test_a_wheel_has_the_template() -> None:
    repo = Path(__file__).parents[2]
    settings = tomllib.loads((repo / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {path for pattern in settings["dnabert_nemo"] for path in TEMPLATE.parents[1].glob(pattern)}
    assert TEMPLATE in shipped


def test_lists_of_numbers_take_a_line(dataset: SpliceDataset, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", splice_rows(dataset, "[\n1\n]"), context(dataset))
    lines = (folder / "report.json").read_text().splitlines()
    assert len(lines) < 5000
    rows = json.loads("\n".join(lines))["rows"]
    assert len(rows["[\n1\n]"]["curves"]["donor"]["roc"]["true_positive_rate"]) > 20


def test_names_are_text_whatever_they_hold(dataset: SpliceDataset, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", splice_rows(dataset, HOSTILE), context(dataset, HOSTILE))
    page = check((folder / "report.html").read_text())
    assert HOSTILE in [text for tag, text in page.text if tag == "span"]
    assert shlex.join(["python", HOSTILE]) in [text for tag, text in page.text if tag == "code"]


def test_the_same_rows_give_the_same_page(dataset: SpliceDataset, tmp_path: Path) -> None:
    rows, about = splice_rows(dataset), context(dataset)
    one, other = (write_report(tmp_path / name, rows, about) for name in ("one", "other"))
    assert (one / "report.html").read_bytes() == (other / "report.html").read_bytes()


def test_models_of_several_seeds_are_put_together(dataset: SpliceDataset, tmp_path: Path) -> None:
    windows = dataset.splits["test"]
    chance = np.random.default_rng(1)
    found = {f"big-seed{seed}": chance.dirichlet(np.ones(3), len(windows)) for seed in (1, 2)}
    about = report_context(
        dataset, seeds={}, command=["x"], files={}, over_seeds=sites_over_seeds(windows, found, seed=1)
    )
    folder = write_report(tmp_path / "report", report_rows(windows, found, seed=1), about)
    page = check((folder / "report.html").read_text())
    assert "seeds" in sections(page)
    assert f"± {about['over_seeds']['big']['metrics']['mcc']['deviation']:.4f}" in [
        text for tag, text in page.text if tag == "small"
    ]


def test_a_rule_alone_has_a_page(dataset: SpliceDataset, tmp_path: Path) -> None:
    folder = write_report(
        tmp_path / "report", report_rows(dataset.splits["test"], {}, seed=1), context(dataset)
    )
    assert "comparison" not in sections(check((folder / "report.html").read_text()))


def make_task(folder: Path, labels: list[str], published: dict[str, Any] | None) -> TaskDataset:
    chance = np.random.default_rng(1)
    lines = [
        f"{''.join(chance.choice(list('ACGT'), chance.integers(5, 60)))},{at % len(labels)}"
        for at in range(30 * len(labels))
    ]
    folder.mkdir()
    (folder / "all.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    named = {str(at): label for at, label in enumerate(labels)}
    prepare_task(
        TaskFiles({"train": folder / "all.csv"}, {}),
        folder / "task",
        TaskSettings("toy", labels=named, published=published),
    )
    return load_task_dataset(folder / "task")


@pytest.mark.parametrize(
    ("labels", "panels"), [(["none", HOSTILE], 2), (["a", "b", "c"], 6), ([*"abcdefgh"], 2)]
)
def test_the_page_of_a_task(labels: list[str], panels: int, tmp_path: Path) -> None:
    published = {"metric": "mcc", "source": HOSTILE, "rows": {"big": 0.7092}} if len(labels) == 2 else None
    dataset = make_task(tmp_path / "made", labels, published)
    test = dataset.splits["test"]
    found = np.random.default_rng(2).dirichlet(np.ones(len(labels)), len(test))
    rows = task_rows(
        test, {"ours": found, "flat": np.full_like(found, 1 / len(labels))}, dataset.labels, seed=1
    )
    page = check((write_task_report(tmp_path / "report", rows, context(dataset)) / "report.html").read_text())
    assert sections(page) == [
        "rows",
        "comparison",
        "curves",
        "calls",
        "calibration",
        "errors",
        "dataset",
        "repeat",
    ]
    assert len([svg for svg in page.of("svg") if svg.get("class") == "panel"]) == panels + 2
    text = " ".join(text for _, text in page.text)
    assert ("0.7092" in text) == (published is not None)
    assert all(label in text for label in labels)


def run(script: str, *overrides: str) -> None:
    done = commands.run([str(EXAMPLES / f"{script}.py"), *overrides], timeout=300)
    assert done.returncode == 0, done.stderr


def test_benchmark_task_writes_its_page(tmp_path: Path) -> None:
    make_task(tmp_path / "made", ["a", "b"], None)
    given = (f"dataset_path={tmp_path / 'made' / 'task'}", f"output_dir={tmp_path / 'report'}")
    run("benchmark_task", *given, "baselines=kmers")
    check((tmp_path / "report" / "report.html").read_text())


def test_benchmark_splice_writes_its_page(splice_dir: Path, tmp_path: Path) -> None:
    given = (f"dataset_path={splice_dir}", f"output_dir={tmp_path / 'report'}", "restore_from_path=null")
    run("benchmark_splice", *given, "baselines=weights")
    check((tmp_path / "report" / "report.html").read_text())
