"""The report of a task: its baselines, its rows, and what stands in JSON and Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from dnabert_nemo.downstream.baselines_of_report import asked_baselines
from dnabert_nemo.downstream.learned_baselines import Labelled
from dnabert_nemo.downstream.prepare_task import prepare_task
from dnabert_nemo.downstream.report import report_context
from dnabert_nemo.downstream.task_baselines import (
    BASELINES,
    MAJORITY_ROW,
    Centred,
    MajorityClass,
    task_probabilities,
)
from dnabert_nemo.downstream.task_dataset import TaskDataset, load_task_dataset
from dnabert_nemo.downstream.task_report import render_task, task_rows, write_task_report
from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings
from dnabert_nemo.errors import ConfigError

PUBLISHED = {"metric": "mcc", "source": "A. Uthor, 2020", "rows": {"big | model": 0.7092}}


def make(folder: Path, lengths: tuple[int, int], **settings: Any) -> TaskDataset:
    """Make a task of two classes, of which one has a motif somewhere."""
    chance = np.random.default_rng(1)
    lines = ["sequence,label"]
    for at in range(400):
        letters = "".join(chance.choice(list("ACGT"), chance.integers(*lengths)))
        place = chance.integers(0, len(letters) - 12)
        lines.append(
            f"{letters[:place]}{'GATTACAGATTA' if at % 2 else ''}{letters[place + 12 * (at % 2) :]},{at % 2}"
        )
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    settings = {"labels": {"0": "none", "1": "motif"}, "published": PUBLISHED} | settings
    prepare_task(
        TaskFiles({"train": folder / "all.csv"}, {}), folder / "task", TaskSettings("toy", **settings)
    )
    return load_task_dataset(folder / "task")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TaskDataset:
    return make(tmp_path_factory.mktemp("alike"), (40, 41))


@pytest.fixture(scope="module")
def rows(dataset: TaskDataset) -> dict[str, dict[str, Any]]:
    test = dataset.splits["test"]
    found = task_probabilities(dataset, test, ["kmers", "one_hot"], seed=1)
    return task_rows(test, found, dataset.labels, seed=1)


def test_baselines_learn_what_there_is_to_learn(rows: dict[str, dict[str, Any]]) -> None:
    kmers, one_hot, majority = rows
    assert (kmers, majority) == ("logistic regression, counts of 6-mers", MAJORITY_ROW)
    assert one_hot == "logistic regression, one-hot of 40 bases"
    assert rows[kmers]["metrics"]["mcc"] > 0.7
    assert rows[majority]["metrics"]["mcc"] == 0
    assert rows[majority]["metrics"]["auroc"] == 0.5
    assert rows[majority]["others_beside_it"][kmers]["mcnemar_p"] < 0.01


def test_sequences_of_any_length_have_baselines_too(tmp_path: Path) -> None:
    dataset = make(tmp_path, (20, 60))
    test = dataset.splits["test"]
    found = task_probabilities(dataset, test, ["one_hot", "cnn"], seed=1)
    assert list(found) == ["convolutional network, from scratch", MAJORITY_ROW]  # no places to compare
    assert found[MAJORITY_ROW].shape == found["convolutional network, from scratch"].shape == (len(test), 2)


def test_middles_stand_in_the_middle() -> None:
    class Seen(MajorityClass):
        def probabilities(self, sequences: Any) -> Any:
            self.sequences = sequences
            return super().probabilities(sequences)

    seen = Seen()
    centred = Centred(seen)
    centred.fit(Labelled(["ACGT", "A"], np.array([0, 1])), Labelled(["A"], np.array([0])), 1)
    assert centred.probabilities(["ACGT", "CG", "TACGTT", "G"]).tolist() == [[0.5, 0.5]] * 4
    assert seen.sequences[:3] == ["ACGT", "NCGN", "ACGT"]


def test_names_of_baselines_are_checked() -> None:
    assert asked_baselines(["cnn", "kmers"], BASELINES) == ["kmers", "cnn"]
    with pytest.raises(ConfigError, match="'weights' is not known: choose from kmers, one_hot, cnn, or null"):
        asked_baselines("weights", BASELINES)


def test_json_holds_all_and_markdown_is_rendered_from_it(
    dataset: TaskDataset, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    context = report_context(dataset, seeds={"bootstrap": 1}, command=["python", "x.py"], files={})
    folder = write_task_report(tmp_path / "report", rows, context)
    report = json.loads((folder / "report.json").read_text())
    markdown = (folder / "report.md").read_text()
    assert markdown == render_task(report)
    assert report["rows"] == rows
    assert report["dataset"] == dataset.manifest
    kmers = next(iter(rows))
    mcc, (low, high) = rows[kmers]["metrics"]["mcc"], rows[kmers]["intervals"]["mcc"]
    assert f"{mcc:.4f} [{low:.4f}, {high:.4f}] |" in markdown
    assert r"| published, big \| model |  |  | 0.7092 |" in markdown
    assert "Published: A. Uthor, 2020. Ours are of other sequences" in markdown  # as test was drawn
    assert f"## {kmers}, beside the others" in markdown
    assert "| MCC:" not in markdown.splitlines()[0]
    for sha256 in dataset.manifest["files"].values():
        assert sha256 in markdown
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in block.splitlines()}) == 1
    again = write_task_report(tmp_path / "again", rows, context)
    assert (again / "report.json").read_bytes() == (folder / "report.json").read_bytes()
    with pytest.raises(ConfigError, match="pass overwrite=true"):
        write_task_report(folder, rows, context)


def test_published_figures_beside_ours_on_the_same_sequences_need_no_word(
    dataset: TaskDataset, rows: dict[str, dict[str, Any]]
) -> None:
    given = {**dataset.manifest, "splits": dict.fromkeys(dataset.splits, "as given")}
    report = {"title": "t", "rows": rows, "split": "test", "dataset": given, "seeds": {}, "versions": {}}
    report |= {"command": "", "files": {}, "over_seeds": {}}
    assert "Ours are of other sequences" not in render_task(report)
    given["removed"] = {"ambiguous": 1}
    assert "Ours are of other sequences" in render_task(report)
    given["published"] = None
    assert "ublished" not in render_task(report)


def test_core_promoters_are_told_by_their_6_mers(data_dir: Path, tmp_path: Path) -> None:
    """The smallest set of GUE here: what logistic regression reaches is no chance."""
    folder = data_dir / "gue" / "mouse" / "0"
    names = {"train": "train", "validation": "dev", "test": "test"}
    files = TaskFiles({split: folder / f"{name}.csv.gz" for split, name in names.items()}, {})
    prepare_task(files, tmp_path / "task", TaskSettings("mouse_0"))
    dataset = load_task_dataset(tmp_path / "task")
    test = dataset.splits["test"]
    found = task_probabilities(dataset, test, ["kmers"], seed=1)
    assert matthews_corrcoef(test.labels, next(iter(found.values())).argmax(1)) > 0.5
