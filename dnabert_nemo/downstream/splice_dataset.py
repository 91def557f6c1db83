"""The splice data set on disk, a CSV for each split and a manifest; `prepare` writes it, training reads."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.shards.reader import UNFINISHED
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS

LABELS = ("donor", "acceptor", "negative")  # a label's place here is its class index
COLUMNS = ("sequence", "label", "contig", "start", "strand", "against", "motif", "distance")
MANIFEST = "manifest.json"
FORMAT_VERSION = 2
FILES = (*(f"{split}.csv" for split in SPLITS), MANIFEST)

_AGAIN = "run prepare_splice again"


@dataclass(frozen=True, eq=False)
class SpliceSplit:
    """The n windows of one split, in the order of their file.

    A sequence reads along its strand, and its two middle bases are those at [start, start + 2) of the
    contig's forward strand, 0-based: a site's dinucleotide, or a negative's place.
    """

    sequences: list[str]  # [n], each `window` letters of ACGT
    labels: NDArray[np.int64]  # [n], places in LABELS
    contigs: list[str]  # [n]
    starts: NDArray[np.int64]  # [n]
    strands: list[str]  # [n], "+" or "-": how the sequence is read
    against: list[str]  # [n], of a decoy the label of its site; "" for the others
    motifs: list[
        str
    ]  # [n], of a site its intron's first and last two bases, GT-AG; of a negative its own two
    # [n], bases from a negative to the nearest annotated site of its contig, or its length; 0 for a site
    distances: NDArray[np.int64]

    @property
    def against_labels(self) -> NDArray[np.int64]:
        """Return `against` as class indices [n], that of negatives where there is none."""
        none = LABELS.index("negative")
        return np.array([LABELS.index(label) if label else none for label in self.against], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True, eq=False)
class SpliceDataset:
    """A splice data set as `prepare_splice` wrote it; `splits` has train, validation and test."""

    path: Path
    manifest: dict[str, Any]
    splits: dict[str, SpliceSplit]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; a label's place here is its class index."""
        return LABELS

    @property
    def window(self) -> int:
        """The bases in every window."""
        return int(self.manifest["window"])


def load_splice_dataset(path: str | Path) -> SpliceDataset:
    """Read a folder written by `prepare_splice`, every row and every file's hash checked.

    Raises:
        FormatError: the folder is missing, unfinished or no splice data set; a row is wrong (with its line);
            a file is not the one its manifest names.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    splits = {}
    for split in SPLITS:
        file = folder / f"{split}.csv"
        if not file.is_file():
            raise FormatError(file, f"this part of the splice data set is missing: {_AGAIN}")
        splits[split] = _read_split(file, manifest["window"])
        if file_sha256(file) != manifest["files"].get(file.name):
            raise FormatError(file, f"changed since {MANIFEST} was written: {_AGAIN}")
    return SpliceDataset(folder, manifest, splits)


def write_split(path: Path, split: SpliceSplit) -> None:
    """Write the windows of one split as CSV, one row each under a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        labels = [LABELS[label] for label in split.labels]
        writer.writerows(
            zip(
                split.sequences,
                labels,
                split.contigs,
                split.starts.tolist(),
                split.strands,
                split.against,
                split.motifs,
                split.distances.tolist(),
                strict=True,
            )
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if folder.absolute().name.endswith(UNFINISHED) or not path.is_file():
        raise FormatError(
            folder, f"no splice data set, or an unfinished one (no {MANIFEST}): run prepare_splice"
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, window, files = (manifest[key] for key in ("format_version", "window", "files"))
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(path, f"not the manifest of a splice data set ({error!r}): {_AGAIN}") from None
    if version != FORMAT_VERSION:
        raise FormatError(path, f"splice format {version}, this package reads {FORMAT_VERSION}: {_AGAIN}")
    if not isinstance(window, int) or not isinstance(files, dict):
        raise FormatError(path, f"not the manifest of a splice data set (window, files): {_AGAIN}")
    return manifest


def _read_split(path: Path, window: int) -> SpliceSplit:
    rows: list[list[str]] = []
    is_window = re.compile(f"[ACGT]{{{window}}}").fullmatch
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise FormatError(path, f"the header is not {','.join(COLUMNS)}: {_AGAIN}", line=1)
        for row in reader:
            problem = _problem(row, is_window(row[0]) is not None if row else False, window)
            if problem:
                raise FormatError(path, f"{problem}: {_AGAIN}", line=reader.line_num)
            rows.append(row)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    of = dict(zip(COLUMNS, columns, strict=True))
    return SpliceSplit(
        of["sequence"],
        np.array([LABELS.index(label) for label in of["label"]], dtype=np.int64),
        of["contig"],
        np.array(list(map(int, of["start"])), dtype=np.int64),
        of["strand"],
        of["against"],
        of["motif"],
        np.array(list(map(int, of["distance"])), dtype=np.int64),
    )


def _problem(row: list[str], is_window: bool, window: int) -> str | None:
    if len(row) != len(COLUMNS):
        return f"{len(row)} fields where there are {len(COLUMNS)}, {','.join(COLUMNS)}"
    if not is_window:
        return f"the sequence is not {window} letters of A, C, G, T"
    if row[1] not in LABELS:
        return f"the label {row[1]!r} is not one of {', '.join(LABELS)}"
    for at in (3, 7):
        if not (row[at].isascii() and row[at].isdigit()):
            return f"the {COLUMNS[at]} {row[at]!r} is not a whole number of at least 0"
    if row[4] not in ("+", "-"):
        return f"the strand {row[4]!r} is not + or -"
    if row[5] and (row[5] not in LABELS[:2] or row[1] != "negative"):
        return f"a {row[1]} against {row[5]!r}, where negatives alone are against donor or acceptor"
    return None
