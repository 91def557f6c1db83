"""Reading a splice data set back, and every way in which one can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.downstream.splice_dataset import (
    LABELS,
    SpliceSplit,
    load_splice_dataset,
    write_split,
)
from dnabert_nemo.errors import FormatError


@pytest.fixture
def copy(splice_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(splice_dir, tmp_path / "splice"))


def test_it_reads_what_its_manifest_counts(splice_dir: Path) -> None:
    dataset = load_splice_dataset(splice_dir)
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert dataset.window == 512
    for name, part in dataset.splits.items():
        counts = dict(zip(LABELS, np.bincount(part.labels, minlength=3).tolist(), strict=True))
        assert counts == dataset.manifest["counts"][name]
        assert len(part) == len(part.contigs) == len(part.starts) == len(part.strands) > 0
        assert {len(sequence) for sequence in part.sequences} == {512}


def test_a_split_survives_the_trip_whatever_its_contigs_are_called(copy: Path) -> None:
    names = ['gi|1,"x" y', "chrä", "3"]
    split = SpliceSplit(
        sequences=["A" * 512] * 3,
        labels=np.array([2, 0, 1]),
        contigs=names,
        starts=np.array([5, 0, 2**33]),
        strands=["+", "-", "+"],
        against=["donor", "", ""],
        motifs=["GT", "GT-AG", "AT-AC"],
        distances=np.array([51, 0, 0]),
    )
    write_split(copy / "test.csv", split)
    with pytest.raises(FormatError, match=r"test\.csv: changed since manifest\.json was written"):
        load_splice_dataset(copy)
    record_hash(copy, "test.csv")
    read = load_splice_dataset(copy).splits["test"]
    assert (read.sequences, read.contigs, read.strands) == (split.sequences, split.contigs, split.strands)
    assert read.labels.tolist() == [2, 0, 1]
    assert read.starts.tolist() == [5, 0, 2**33]
    assert (read.against, read.motifs) == (split.against, split.motifs)
    assert read.distances.tolist() == [51, 0, 0]
    assert read.against_labels.tolist() == [0, 2, 2]


def record_hash(folder: Path, name: str) -> None:
    from dnabert_nemo.shards.records import file_sha256

    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = file_sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


GOOD = "A" * 512
REST = ",,GT-AG,0"  # the columns after the strand


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{GOOD},donor,1,5", "4 fields where there are 8"),
        ("", "0 fields where there are 8"),
        (f"{GOOD[1:]},donor,1,5,+{REST}", "not 512 letters of A, C, G, T"),
        (f"{GOOD[1:]}N,donor,1,5,+{REST}", "not 512 letters of A, C, G, T"),
        (f"{GOOD[1:]}a,donor,1,5,+{REST}", "not 512 letters of A, C, G, T"),
        (f"{GOOD},Donor,1,5,+{REST}", "the label 'Donor' is not one of donor, acceptor, negative"),
        (f"{GOOD},donor,1,-5,+{REST}", "the start '-5' is not a whole number"),
        (f"{GOOD},donor,1,5.0,+{REST}", "the start '5.0' is not a whole number"),
        (f"{GOOD},donor,1,5,.{REST}", "the strand '.' is not + or -"),
        (f"{GOOD},donor,1,5,+,acceptor,GT-AG,0", "a donor against 'acceptor', where negatives alone are"),
        (f"{GOOD},negative,1,5,+,negative,GT,60", "a negative against 'negative', where negatives alone are"),
        (f"{GOOD},negative,1,5,+,donor,GT,far", "the distance 'far' is not a whole number of at least 0"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(row: str, says: str, copy: Path) -> None:
    lines = (copy / "validation.csv").read_text().splitlines()
    lines[3] = row
    (copy / "validation.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError) as caught:
        load_splice_dataset(copy)
    assert str(caught.value).startswith(f"{copy / 'validation.csv'}, line 4: ")
    assert says in str(caught.value)
    assert str(caught.value).endswith("run prepare_splice again")


def edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    return edit


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "no splice data set, or an unfinished one (no manifest.json): run prepare_splice"),
        (lambda folder: (folder / "manifest.json").unlink(), "no splice data set, or an unfinished one"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not the manifest of a splice data set"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest of a splice data set"),
        (edit_manifest(window="512"), "not the manifest of a splice data set"),
        (edit_manifest(format_version=9), "splice format 9, this package reads 2"),
        (
            lambda folder: (folder / "test.csv").unlink(),
            "test.csv: this part of the splice data set is missing",
        ),
        (lambda folder: (folder / "test.csv").write_text(""), "the header is not sequence,label"),
        (lambda folder: (folder / "test.csv").write_bytes(b"\xff\x00\n"), "the header is not sequence,label"),
    ],
)
def test_what_is_no_finished_data_set(spoil: Callable[[Path], object], says: str, copy: Path) -> None:
    spoil(copy)
    with pytest.raises(FormatError) as caught:
        load_splice_dataset(copy)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_with_good_rows_is_still_told(copy: Path) -> None:
    lines = (copy / "train.csv").read_text().splitlines(keepends=True)
    (copy / "train.csv").write_text("".join(lines[:-1]))
    with pytest.raises(FormatError, match=r"train\.csv: changed since manifest\.json was written"):
        load_splice_dataset(copy)


def test_an_unfinished_folder_is_refused_even_with_a_manifest(copy: Path) -> None:
    unfinished = copy.rename(copy.with_name("splice.unfinished"))
    with pytest.raises(FormatError, match="unfinished"):
        load_splice_dataset(unfinished)
