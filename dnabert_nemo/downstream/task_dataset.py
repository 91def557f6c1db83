"""The data set of a classification task on disk, a CSV for each split and a manifest.

`prepare_task` writes it; training reads it, by `load_dataset` as it reads the splice data sets.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import SpliceDataset, load_splice_dataset
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.shards.reader import UNFINISHED
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS

COLUMNS = ("sequence", "label")
MANIFEST = "manifest.json"
KIND = "task"
FORMAT_VERSION = 1
FILES = (*(f"{split}.csv" for split in SPLITS), MANIFEST)

_AGAIN = "run prepare_task again"
_is_sequence = re.compile("[ACGT]+").fullmatch


@dataclass(frozen=True, eq=False)
class TaskSplit:
    """The n sequences of one split, in the order of their file."""

    sequences: list[str]  # [n], letters of ACGT, of any length
    labels: NDArray[np.int64]  # [n], places in the data set's labels

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True, eq=False)
class TaskDataset:
    """A data set as `prepare_task` wrote it; `splits` has train, validation and test."""

    path: Path
    manifest: dict[str, Any]
    splits: dict[str, TaskSplit]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; a label's place here is its class index."""
        return tuple(self.manifest["labels"])


def load_dataset(path: str | Path) -> SpliceDataset | TaskDataset:
    """Read a folder that `prepare_splice` or `prepare_task` wrote, told apart by their manifests.

    Raises:
        FormatError: as `load_splice_dataset` and `load_task_dataset`.
    """
    manifest = _manifest_there(Path(path))
    return load_splice_dataset(path) if "protocol" in manifest else load_task_dataset(path)


def load_task_dataset(path: str | Path) -> TaskDataset:
    """Read a folder written by `prepare_task`, every row and every file's hash checked.

    Raises:
        FormatError: the folder is missing, unfinished or no task's data set; a row is wrong (with its line);
            a file is not the one its manifest names.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    splits = {}
    for split in SPLITS:
        file = folder / f"{split}.csv"
        if not file.is_file():
            raise FormatError(file, f"this part of the data set is missing: {_AGAIN}")
        splits[split] = _read_split(file, manifest["labels"])
        if file_sha256(file) != manifest["files"].get(file.name):
            raise FormatError(file, f"changed since {MANIFEST} was written: {_AGAIN}")
    return TaskDataset(folder, manifest, splits)


def write_split(path: Path, split: TaskSplit, labels: Sequence[str]) -> None:
    """Write the sequences of one split as CSV, one row each under a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(split.sequences, (labels[at] for at in split.labels.tolist()), strict=True))


def check_lengths(dataset: SpliceDataset | TaskDataset, *, k: int, max_positions: int) -> None:
    """Raise ConfigError where a sequence has no k-mer, or more bases than a model has positions for.

    A sequence of L bases takes L - k + 1 positions, and two more for the ends.
    """
    lengths = [len(sequence) for split in dataset.splits.values() for sequence in split.sequences]
    most = max_positions - 2 + k - 1
    if min(lengths) < k:
        raise ConfigError(
            f"{dataset.path} has a sequence of {min(lengths)} bases, and the model reads {k}-mers: leave out "
            f"what is shorter than {k}, or use a model of smaller k"
        )
    if max(lengths) > most:
        shorter = f"task.crop={most}, which keeps the middle"
        if isinstance(dataset, SpliceDataset):
            shorter = f"window={most - most % 2}"
        raise ConfigError(
            f"{dataset.path} has a sequence of {max(lengths):,} bases, and the model takes {most:,} "
            f"(max_position_embeddings={max_positions}): prepare it again with {shorter}, or use a model "
            "with more positions"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a task's data set.

    Raises:
        FormatError: there is none, or it is another's.
    """
    path, manifest = folder / MANIFEST, _manifest_there(folder)
    if "protocol" in manifest:
        raise FormatError(folder, "a splice data set: benchmark_splice.py reports on it, or prepare a task")
    try:
        kind, version, labels, files = (
            manifest[key] for key in ("kind", "format_version", "labels", "files")
        )
    except KeyError as error:
        raise FormatError(path, f"not the manifest of a task's data set ({error!r}): {_AGAIN}") from None
    if version != FORMAT_VERSION:
        raise FormatError(path, f"task format {version}, this package reads {FORMAT_VERSION}: {_AGAIN}")
    is_named = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if kind != KIND or not is_named or not isinstance(files, dict):
        raise FormatError(path, f"not the manifest of a task's data set (kind, labels, files): {_AGAIN}")
    return manifest


def _manifest_there(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if folder.absolute().name.endswith(UNFINISHED) or not path.is_file():
        problem = f"no data set, or an unfinished one (no {MANIFEST}): run prepare_task or prepare_splice"
        raise FormatError(folder, problem)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(path, f"not the manifest of a data set ({error!r}): prepare it again") from None
    if not isinstance(manifest, dict):
        raise FormatError(path, "not the manifest of a data set: prepare it again")
    return manifest


def _read_split(path: Path, labels: Sequence[str]) -> TaskSplit:
    index_of = {label: index for index, label in enumerate(labels)}
    sequences, found = [], []
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, [])) != COLUMNS:
            raise FormatError(path, f"the header is not {','.join(COLUMNS)}: {_AGAIN}", line=1)
        for row in reader:
            if problem := _problem(row, index_of):
                raise FormatError(path, f"{problem}: {_AGAIN}", line=reader.line_num)
            sequences.append(row[0])
            found.append(index_of[row[1]])
    return TaskSplit(sequences, np.array(found, dtype=np.int64))


def _problem(row: list[str], index_of: dict[str, int]) -> str | None:
    if len(row) != len(COLUMNS):
        return f"{len(row)} fields where there are {len(COLUMNS)}, {','.join(COLUMNS)}"
    if not _is_sequence(row[0]):
        return "the sequence is not letters of A, C, G, T alone"
    if row[1] not in index_of:
        return f"the label {row[1]!r} is not one of {', '.join(index_of)}"
    return None
