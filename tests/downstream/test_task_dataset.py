"""Reading a task's data set back, and every way in which one can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.downstream.prepare_task import prepare_task
from dnabert_nemo.downstream.splice_dataset import SpliceDataset
from dnabert_nemo.downstream.task_dataset import check_lengths, load_dataset, load_task_dataset
from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings
from dnabert_nemo.errors import ConfigError, FormatError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of 40 sequences of 12 to 31 bases in two classes."""
    chance = np.random.default_rng(1)
    rows = ["".join(chance.choice(list("ACGT"), 12 + at % 20)) + f",{at % 2}" for at in range(40)]
    (tmp_path / "all.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    settings = TaskSettings("small", labels={"1": "yes", "0": "no"})
    prepare_task(TaskFiles({"train": tmp_path / "all.csv"}, {}), tmp_path / "task", settings)
    return tmp_path / "task"


def test_it_reads_what_its_manifest_counts(folder: Path) -> None:
    dataset = load_task_dataset(folder)
    assert dataset.labels == ("yes", "no")
    assert list(dataset.splits) == ["train", "validation", "test"]
    for name, part in dataset.splits.items():
        counts = np.bincount(part.labels, minlength=2).tolist()
        assert list(dataset.manifest["counts"][name].values()) == counts
        assert len(part) == len(part.sequences) == sum(counts)
    assert load_dataset(folder).labels == dataset.labels


def test_splice_data_sets_are_told_apart(splice_dir: Path) -> None:
    dataset = load_dataset(splice_dir)
    assert isinstance(dataset, SpliceDataset)
    assert dataset.labels == ("donor", "acceptor", "negative")
    with pytest.raises(FormatError, match=r"a splice data set: benchmark_splice\.py reports on it"):
        load_task_dataset(splice_dir)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("ACGT", "1 fields where there are 2, sequence,label"),
        ("", "0 fields where there are 2"),
        ("ACGN,yes", "the sequence is not letters of A, C, G, T alone"),
        ("acgt,yes", "the sequence is not letters of A, C, G, T alone"),
        (",yes", "the sequence is not letters of A, C, G, T alone"),
        ("ACGT,Yes", "the label 'Yes' is not one of yes, no"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(row: str, says: str, folder: Path) -> None:
    lines = (folder / "train.csv").read_text().splitlines()
    lines[3] = row
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError) as caught:
        load_task_dataset(folder)
    assert str(caught.value).startswith(f"{folder / 'train.csv'}, line 4: {says}")
    assert str(caught.value).endswith(": run prepare_task again")


def edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    return edit


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no data set, or an unfinished one"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not the manifest of a data set"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest of a data set"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "not the manifest of a task's data set"),
        (edit_manifest(kind="other"), "not the manifest of a task's data set"),
        (edit_manifest(labels="yes"), "not the manifest of a task's data set"),
        (edit_manifest(format_version=9), "task format 9, this package reads 1"),
        (lambda folder: (folder / "test.csv").unlink(), "test.csv: this part of the data set is missing"),
        (
            lambda folder: (folder / "test.csv").write_text(""),
            "test.csv, line 1: the header is not sequence,",
        ),
        (lambda folder: (folder / "test.csv").write_text("sequence,label\nACGT,no\n"), "changed since"),
    ],
)
def test_what_is_no_finished_data_set(spoil: Callable[[Path], object], says: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(FormatError) as caught:
        load_task_dataset(folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unfinished_folder_is_refused_even_with_a_manifest(folder: Path) -> None:
    with pytest.raises(FormatError, match="unfinished"):
        load_dataset(folder.rename(folder.with_name("task.unfinished")))


def test_a_model_must_have_room_for_every_sequence(folder: Path) -> None:
    dataset = load_task_dataset(folder)
    check_lengths(dataset, k=3, max_positions=31)  # 31 bases are 29 3-mers, and two ends
    with pytest.raises(
        ConfigError, match=r"31 bases, and the model takes 30 .*again with task\.crop=30, which keeps"
    ):
        check_lengths(dataset, k=3, max_positions=30)
    with pytest.raises(ConfigError, match="a sequence of 12 bases, and the model reads 13-mers"):
        check_lengths(dataset, k=13, max_positions=512)


def test_windows_of_splice_sites_are_made_shorter(splice_dir: Path) -> None:
    check_lengths(load_dataset(splice_dir), k=3, max_positions=512)
    with pytest.raises(ConfigError, match=r"512 bases, and the model takes 63 .*again with window=62, or"):
        check_lengths(load_dataset(splice_dir), k=3, max_positions=63)
