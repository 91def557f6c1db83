"""What is read of the windows of one FASTA file: their keys, then the bases of those that may be duplicates.

The jobs of `deduplicate`; each file is one job, which writes to its own part of the scratch files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.duplicates.candidates import KeyColumn
from dnabert_nemo.duplicates.signatures import BATCH_BASES, Bands, Sketcher, exact_key
from dnabert_nemo.duplicates.verify import PackedWindows, pack
from dnabert_nemo.duplicates.windows import WINDOW, read_windows, window_codes
from dnabert_nemo.genome.fasta import Names


@dataclass(frozen=True)
class Scratch:
    """The files that hold what is known of all windows while they are compared."""

    folder: Path
    num_windows: int
    bands: int

    @property
    def table(self) -> Path:
        return self.folder / "windows"

    @property
    def packed(self) -> PackedWindows:
        return PackedWindows(self.folder / "packed", self.folder / "packed.npy")

    def windows(self) -> NDArray[np.void]:
        """Return the table, WINDOW [num_windows], left on disk."""
        return np.memmap(self.table, dtype=WINDOW, mode="r")

    def keys(self, number: int) -> KeyColumn:
        """Return a key of every window: 0 and 1 are the halves of the exact one, the bands follow."""
        return KeyColumn(self.folder / f"keys-{number:03d}", self.num_windows)

    @property
    def num_keys(self) -> int:
        return 2 + self.bands


@dataclass(frozen=True)
class SketchJob:
    """All that making the keys of one file's windows takes, in any process."""

    path: str
    names: Names
    first: int  # of the file's windows
    after: int
    scratch: Scratch
    k: int
    bands: Bands
    seed: int


def sketch_windows(job: SketchJob) -> None:
    """Write the exact keys and the band keys of one file's windows."""
    sketcher = Sketcher(job.k, job.bands, job.seed)
    windows = read_windows(job.scratch.table, job.first, job.after)
    num_windows = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(open(job.scratch.keys(number).path, "r+b"))
            for number in range(job.scratch.num_keys)
        ]
        for file in files:
            file.seek(8 * job.first)
        for batch in _batches(window_codes(job.path, job.names, windows)):
            exact = np.array([exact_key(window) for window in batch], dtype=np.uint64)
            columns = np.concatenate([exact, sketcher.band_keys(batch)], axis=1).T
            for file, column in zip(files, columns, strict=True):
                file.write(column.tobytes())
            num_windows += len(batch)
    assert num_windows == job.after - job.first


def _batches(windows: Iterator[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    """Gather windows while they fit; a longer one is alone, so that it holds up no other."""
    batch: list[NDArray[np.uint8]] = []
    bases = 0
    for window in windows:
        if batch and bases + len(window) > BATCH_BASES:
            yield batch
            batch, bases = [], 0
        batch.append(window)
        bases += len(window)
    if batch:
        yield batch


@dataclass(frozen=True)
class PackJob:
    """All that writing out some windows of one file takes, in any process."""

    path: str
    names: Names
    first: int  # of the rows of the index of packed windows
    after: int
    scratch: Scratch


def pack_windows(job: PackJob) -> None:
    """Write the bases of the windows that rows of the index ask for, at two bits each."""
    index = np.load(job.scratch.packed.index, mmap_mode="r")[job.first : job.after]
    windows = job.scratch.windows()[index[:, 0]]
    with open(job.scratch.packed.content, "r+b") as file:
        file.seek(int(index[0, 1]))
        for codes in window_codes(job.path, job.names, [windows]):
            file.write(pack(codes).data)


def index_packed(scratch: Scratch, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each chosen window, int64 [n] rising, a place among the packed ones; return the index, [n, 3]."""
    bases = scratch.windows()["bases"][chosen]
    num_bytes = -(-bases // 4)
    index = np.stack([chosen, np.cumsum(num_bytes) - num_bytes, bases], axis=1)
    np.save(scratch.packed.index, index)
    with open(scratch.packed.content, "wb") as file:
        file.truncate(int(num_bytes.sum()))
    return index
