"""The report: its JSON and Markdown, what stands in them, and that they repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnabert_nemo.downstream.baselines import dinucleotide_rule
from dnabert_nemo.downstream.comparison import compare
from dnabert_nemo.downstream.metrics import score
from dnabert_nemo.downstream.report import (
    PUBLISHED,
    PUBLISHED_ROW,
    RULE_ROW,
    environment,
    render_markdown,
    report_context,
    report_rows,
    write_report,
)
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, load_splice_dataset
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.records import file_sha256


@pytest.fixture(scope="module")
def dataset(splice_dir: Path) -> SpliceDataset:
    return load_splice_dataset(splice_dir)


@pytest.fixture(scope="module")
def rows(dataset: SpliceDataset) -> dict[str, dict[str, Any]]:
    test = dataset.splits["test"]
    calls = test.labels.copy()
    calls[::9] = (calls[::9] + 1) % 3
    return report_rows(test, {"ours | tiny": np.eye(3)[calls]}, seed=1)


@pytest.fixture
def context(dataset: SpliceDataset, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "tiny.nemo").write_bytes(b"weights")
    return report_context(
        dataset,
        seeds={"train": 3, "bootstrap": 1},
        command=["python", "examples/benchmark_splice.py", "output_dir=a b"],
        files={"model": tmp_path / "tiny.nemo"},
    )


def test_the_rule_is_always_in_the_report_and_on_the_same_windows(
    dataset: SpliceDataset, rows: dict[str, Any]
) -> None:
    test = dataset.splits["test"]
    assert list(rows) == ["ours | tiny", RULE_ROW]
    of_rule = score(test.labels, dinucleotide_rule(test.sequences), seed=1)
    assert {key: rows[RULE_ROW][key] for key in of_rule} == of_rule
    assert rows[RULE_ROW]["num_windows"] == rows["ours | tiny"]["num_windows"] == len(test)
    assert rows[RULE_ROW]["card"]["mean"]["accuracy"] > 0.9


def test_any_two_rows_are_compared_once(dataset: SpliceDataset, context: dict[str, Any]) -> None:
    test = dataset.splits["test"]
    chance = np.random.default_rng(1).dirichlet(np.ones(3), (3, len(test)))
    rows = report_rows(test, dict(zip("abc", chance, strict=True)), seed=1)
    names = ["a", "b", "c", RULE_ROW]
    assert {name: list(row["others_beside_it"]) for name, row in rows.items()} == {
        name: names[:at] for at, name in enumerate(names)
    }
    found = rows["c"]["others_beside_it"]["b"]
    assert found == compare(test.labels, chance[1].argmax(1), chance[2].argmax(1), seed=1)
    [line] = lines_of(render_markdown({**REPORT, "rows": rows, **context}), "3. c")
    assert line[2] == f"{found['differences']['mcc']['difference']:+.3f} (p {found['mcnemar_p']:.2g})"


def test_predictions_must_fit_the_split(dataset: SpliceDataset) -> None:
    with pytest.raises(ValueError, match="labels"):
        report_rows(dataset.splits["test"], {"ours": np.eye(3)}, seed=1)


def test_published_means_are_those_of_its_classes() -> None:
    for metric, mean in PUBLISHED["mean"].items():
        assert mean == pytest.approx(
            (PUBLISHED["donor"][metric] + PUBLISHED["acceptor"][metric]) / 2, abs=1.01e-4
        )


def test_json_holds_all_and_markdown_is_rendered_from_it(
    rows: dict[str, Any], context: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_report(tmp_path / "report", rows, context)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    report = json.loads((folder / "report.json").read_text())
    assert (folder / "report.md").read_text() == render_markdown(report)
    assert report["rows"] == rows
    assert report["published"] == {"name": PUBLISHED_ROW, "card": PUBLISHED}
    assert report["seeds"] == {"train": 3, "bootstrap": 1}
    assert report["command"] == "python examples/benchmark_splice.py 'output_dir=a b'"
    assert report["files"]["model"] == {"name": "tiny.nemo", "sha256": file_sha256(tmp_path / "tiny.nemo")}
    assert report["dataset"]["counts"]["test"]["donor"] > 0
    assert set(report["versions"]) == {
        "python", "dnabert_nemo", "torch", "nemo_toolkit", "megatron-core", "lightning", "numpy",
        "scikit-learn",
    }  # fmt: skip


REPORT = {"title": "", "the_bar": "", "published": {"name": PUBLISHED_ROW, "card": PUBLISHED}}


def lines_of(markdown: str, first_cell: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith(f"| {first_cell} |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown_sets_the_card_our_row_and_the_rule_side_by_side(
    rows: dict[str, Any], context: dict[str, Any], dataset: SpliceDataset, tmp_path: Path
) -> None:
    markdown = (write_report(tmp_path / "report", rows, context) / "report.md").read_text()
    published = "0.9491 0.8982 0.9502 0.9345 0.8691 0.9361 0.9418 0.8837 0.9432"
    assert lines_of(markdown, PUBLISHED_ROW)[0][1:] == published.split()
    in_table, in_detail = lines_of(markdown, RULE_ROW)[:2]
    card, intervals = rows[RULE_ROW]["card"], rows[RULE_ROW]["intervals"]["mean"]
    assert in_table[1:4] == [f"{card['donor'][metric]:.4f}" for metric in ("accuracy", "mcc", "f1")]
    low, high = intervals["mcc"]
    assert in_detail[2] == f"{card['mean']['mcc']:.4f} [{low:.4f}, {high:.4f}]"
    assert r"| ours \| tiny | 0." in markdown
    assert "is the bar" in markdown
    test = dataset.manifest["counts"]["test"]
    assert lines_of(markdown, "test") == [["test", *(str(count) for count in test.values()), "5"]]
    for sha256 in dataset.manifest["files"].values():
        assert sha256 in markdown
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    assert len(tables) == 13
    for table in tables:
        assert len({line.replace(r"\|", "").count("|") for line in table}) == 1


def test_the_same_rows_give_the_same_bytes(
    rows: dict[str, Any], context: dict[str, Any], tmp_path: Path
) -> None:
    one, other = (write_report(tmp_path / name, rows, context) for name in ("one", "other"))
    for name in ("report.json", "report.md", "report.html"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_report_is_replaced_only_when_asked(
    rows: dict[str, Any], context: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_report(tmp_path / "report", rows, context)
    before = (folder / "report.md").read_text()
    alone = {RULE_ROW: rows[RULE_ROW] | {"errors": rows["ours | tiny"]["errors"]}}
    with pytest.raises(ConfigError, match="pass overwrite=true"):
        write_report(folder, alone, context)
    assert (folder / "report.md").read_text() == before
    write_report(folder, alone, context, overwrite=True)
    assert r"ours \| tiny" not in (folder / "report.md").read_text()


def test_many_contigs_are_cut_short_in_markdown_only(rows: dict[str, Any], context: dict[str, Any]) -> None:
    names = [f"scaffold{number}" for number in range(1, 31)]
    dataset = {**context["dataset"], "contigs": {**context["dataset"]["contigs"], "train": names}}
    report = {"title": "", "the_bar": "", "published": {"name": "p", "card": PUBLISHED}, "rows": rows}
    markdown = render_markdown({**report, **context, "dataset": dataset})
    assert "scaffold20 and 10 more |" in markdown
    assert "scaffold21" not in markdown


def test_environment_names_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnabert_nemo.downstream.report._PACKAGES", ("numpy", "no-such-package-here"))
    versions = environment()
    assert versions["numpy"] == np.__version__
    assert versions["no-such-package-here"] == "not installed"
