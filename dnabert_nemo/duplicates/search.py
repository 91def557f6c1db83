"""The steps from FASTA files to groups of duplicates, each over all windows; `deduplicate` takes them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.duplicates.candidates import candidate_pairs, equal_runs, run_firsts, unpair
from dnabert_nemo.duplicates.groups import Groups, UnionFind
from dnabert_nemo.duplicates.passes import (
    PackJob,
    Scratch,
    SketchJob,
    index_packed,
    pack_windows,
    sketch_windows,
)
from dnabert_nemo.duplicates.settings import Inputs
from dnabert_nemo.duplicates.signatures import Bands
from dnabert_nemo.duplicates.tables import FileWindows, Likeness
from dnabert_nemo.duplicates.verify import PairJob, chunks, compare_pairs
from dnabert_nemo.duplicates.windows import ContigNames, ListedFile, ListJob, list_windows
from dnabert_nemo.kmer.canonical import distinct
from dnabert_nemo.shards.workers import Run

_ROUND, _JOB = 4096, 256  # pairs compared before those already joined are left out, and in one job


def list_inputs(
    inputs: Inputs, window: int | None, min_stretch: int, folder: Path, run: Run
) -> tuple[list[ListedFile], list[FileWindows]]:
    """List the windows of all files into one table.

    Raises:
        FormatError: a file cannot be read as FASTA.
    """
    tables = [folder / f"file-{number:05d}" for number in range(len(inputs.paths))]
    jobs = [
        ListJob(number, path, inputs.names, window, min_stretch, table)
        for number, (path, table) in enumerate(zip(inputs.paths, tables, strict=True))
    ]
    listed = list(run(list_windows, jobs))
    files = []
    first = 0
    with open(folder / "windows", "wb") as together:
        for label, table, of_file in zip(inputs.labels, tables, listed, strict=True):
            with open(table, "rb") as part:
                shutil.copyfileobj(part, together)
            table.unlink()
            files.append(FileWindows(label, first, first + of_file.num_windows, ContigNames(table)))
            first += of_file.num_windows
    return listed, files


def make_keys(
    inputs: Inputs, files: Sequence[FileWindows], scratch: Scratch, k: int, bands: Bands, seed: int, run: Run
) -> None:
    """Write the exact and the band keys of all windows."""
    for number in range(scratch.num_keys):
        with open(scratch.keys(number).path, "wb") as file:
            file.truncate(8 * scratch.num_windows)
    jobs = [
        SketchJob(path, inputs.names, file.first, file.after, scratch, k, bands, seed)
        for path, file in zip(inputs.paths, files, strict=True)
        if file.after > file.first
    ]
    for _ in run(sketch_windows, jobs):
        pass


@dataclass(frozen=True, eq=False)
class Copies:
    """Windows with the bases of an earlier one, on either strand: [num_copies] each, by window."""

    windows: NDArray[np.int64]
    firsts: NDArray[np.int64]  # the earliest with these bases
    is_same_strand: NDArray[np.bool_]

    def first_of(
        self, windows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return of windows [n] the earliest with their bases, whether they are a copy, and on its strand."""
        firsts, is_same_strand = windows.copy(), np.ones(len(windows), dtype=np.bool_)
        is_copy = np.isin(windows, self.windows, assume_unique=True)
        row = np.searchsorted(self.windows, windows[is_copy])
        firsts[is_copy], is_same_strand[is_copy] = self.firsts[row], self.is_same_strand[row]
        return firsts, is_copy, is_same_strand


def find_copies(scratch: Scratch, groups: UnionFind) -> Copies:
    """Find the windows that are equal base by base on either strand, and join each to the first."""
    low = scratch.keys(1)
    found = [np.empty((0, 2), dtype=np.int64)]
    everyone = np.ones(scratch.num_windows, dtype=np.bool_)
    for members, is_first in equal_runs(scratch.keys(0), everyone):
        later = np.stack([members, run_firsts(members, is_first)], axis=1)[~is_first]
        same = low.take(later) >> np.uint64(1)
        found.append(later[same[:, 0] == same[:, 1]])
    copies, firsts = np.concatenate(found).T
    order = np.argsort(copies)
    copies, firsts = copies[order], firsts[order]
    groups.join_firsts(firsts, copies)
    return Copies(copies, firsts, ((low.take(copies) ^ low.take(firsts)) & np.uint64(1)) == 0)


def find_candidates(scratch: Scratch, copies: Copies) -> NDArray[np.int64]:
    """Pair the windows that meet in a band, copies aside: int64 [num_pairs, 2], sorted."""
    use = np.ones(scratch.num_windows, dtype=np.bool_)
    use[copies.windows] = False
    return unpair(candidate_pairs((scratch.keys(number) for number in range(2, scratch.num_keys)), use))


def pack_candidates(
    inputs: Inputs, files: Sequence[FileWindows], scratch: Scratch, pairs: NDArray[np.int64], run: Run
) -> int:
    """Write out the bases of all windows that are in a pair; return how many windows."""
    index = index_packed(scratch, distinct(pairs.reshape(-1).astype(np.uint64)).astype(np.int64))
    rows = np.searchsorted(index[:, 0], [(file.first, file.after) for file in files])
    jobs = [
        PackJob(path, inputs.names, first, after, scratch)
        for path, (first, after) in zip(inputs.paths, rows.tolist(), strict=True)
        if after > first
    ]
    for _ in run(pack_windows, jobs):
        pass
    return len(index)


def join_similar(
    pairs: NDArray[np.int64],
    threshold: float,
    scratch: Scratch,
    k: int,
    seed: int,
    groups: UnionFind,
    run: Run,
) -> int:
    """Compare pairs that are not of one group yet, join the similar; return how many were compared."""
    num_compared = 0
    for some in chunks(pairs, _ROUND):
        apart = some[groups.are_apart(some)]
        similarity, _ = _compare(apart, scratch, k, seed, False, run)
        for one, other in apart[similarity >= threshold].tolist():
            groups.join(one, other)
        num_compared += len(apart)
    return num_compared


def likeness(groups: Groups, copies: Copies, scratch: Scratch, k: int, seed: int, run: Run) -> Likeness:
    """Compare every member of a group with the kept one, copies through the first of theirs."""
    first, is_copy, is_same_as_first = copies.first_of(groups.members)
    kept = groups.kept[groups.group]
    near = np.flatnonzero(~is_copy & (groups.members != kept))
    similarity, is_same_strand = np.ones(len(first)), np.ones(len(first), dtype=np.bool_)
    pairs = np.stack([kept, groups.members], axis=1)[near]
    similarity[near], is_same_strand[near] = _compare(pairs, scratch, k, seed, True, run)
    order = np.argsort(groups.members)
    place = order[np.searchsorted(groups.members, first, sorter=order)]  # of a copy's first, itself a member
    return Likeness(is_copy, is_same_as_first == is_same_strand[place], similarity[place])


def _compare(
    pairs: NDArray[np.int64], scratch: Scratch, k: int, seed: int, tell_strand: bool, run: Run
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    jobs = (PairJob(scratch.packed, some, k, seed, tell_strand) for some in chunks(pairs, _JOB))
    found = list(run(compare_pairs, jobs))
    similarity = np.concatenate([np.empty(0), *(one.similarity for one in found)])
    strand = np.concatenate([np.empty(0, dtype=np.bool_), *(one.is_same_strand for one in found)])
    return similarity, strand
