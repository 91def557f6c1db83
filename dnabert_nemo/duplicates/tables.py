"""The tables of deduplication: the regions that stay, as BED, and every group; after `groups`."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.duplicates.groups import Groups
from dnabert_nemo.duplicates.windows import ContigNames, read_windows

KEPT, KEPT_BY_FILE, GROUPS = "kept.bed", "kept", "groups.tsv"
_COLUMNS = ("group", "window", "file", "contig", "start", "end", "status", "kind", "strand", "similarity")
_CHUNK = 1 << 18  # windows at once


@dataclass(frozen=True, eq=False)
class FileWindows:
    """Which windows are of one input file, and what its contigs are called."""

    label: str
    first: int
    after: int
    names: ContigNames


@dataclass(frozen=True, eq=False)
class Likeness:
    """How the members of groups are alike the kept one of theirs: [num_members] each."""

    is_exact: NDArray[np.bool_]  # the bases of an earlier member, on either strand
    is_same_strand: NDArray[np.bool_]
    similarity: NDArray[np.float64]


def write_groups(
    folder: Path,
    groups: Groups,
    likeness: Likeness,
    windows: NDArray[np.void],
    files: Sequence[FileWindows],
) -> None:
    """Write a row for each window in a group: where it is, whether it stays, how alike the kept one it is."""
    with open(folder / GROUPS, "w", encoding="utf-8", newline="\n") as written:
        written.write("\t".join(_COLUMNS) + "\n")
        for first in range(0, len(groups.members), _CHUNK):
            part = slice(first, first + _CHUNK)
            members, group = groups.members[part], groups.group[part]
            columns = (
                group,
                members,
                windows[members],
                members == groups.kept[group],
                likeness.is_exact[part],
                likeness.is_same_strand[part],
                likeness.similarity[part],
            )
            rows = zip(*(column.tolist() for column in columns), strict=True)
            for number, window, (file, contig, start, bases), is_kept, is_exact, is_same, similarity in rows:
                kind = "." if is_kept else "exact" if is_exact else "near"
                place = (files[file].label, files[file].names[contig], start, start + bases)
                seen = ("kept" if is_kept else "dropped", kind, "+" if is_same else "-", f"{similarity:.4f}")
                written.write("\t".join(map(str, (number, window, *place, *seen))) + "\n")


def write_kept(folder: Path, is_kept: NDArray[np.bool_], table: Path, files: Sequence[FileWindows]) -> bool:
    """Write the regions that stay, as BED (0-based, half-open), windows side by side as one region.

    There is one kept.bed; of several files there is kept/FILE.bed for each too. Returns False where kept.bed
    is left out, because two files have a contig of one name.
    """
    (folder / KEPT_BY_FILE).mkdir()
    paths = [folder / KEPT_BY_FILE / f"{file.label.replace('/', '_')}.bed" for file in files]
    for path, file in zip(paths, files, strict=True):
        with open(path, "w", encoding="utf-8", newline="\n") as bed:
            for contig, start, end in _regions(is_kept, table, file):
                bed.write(f"{file.names[contig]}\t{start}\t{end}\n")
    if not _are_unique([file.names for file in files]):
        return False
    with open(folder / KEPT, "wb") as together:
        for path in paths:
            with open(path, "rb") as bed_of_file:
                shutil.copyfileobj(bed_of_file, together)
    if len(files) == 1:
        shutil.rmtree(folder / KEPT_BY_FILE)
    return True


def _regions(is_kept: NDArray[np.bool_], table: Path, file: FileWindows) -> Iterator[tuple[int, int, int]]:
    """Yield (contig, start, end) of the kept windows of a file, joined where they touch."""
    at, begins, ends = -1, 0, 0
    first = file.first
    for windows in read_windows(table, file.first, file.after):
        rows = windows[is_kept[first : first + len(windows)]]
        first += len(windows)
        for _, contig, start, bases in rows.tolist():
            if contig != at or start != ends:
                if at >= 0:
                    yield at, begins, ends
                at, begins = contig, start
            ends = start + bases
    if at >= 0:
        yield at, begins, ends


def _are_unique(names: Sequence[ContigNames]) -> bool:
    if len(names) == 1:
        return True
    seen = array("Q")
    for of_file in names:
        for contig in range(len(of_file)):
            seen.frombytes(blake2b(of_file[contig].encode(), digest_size=8).digest())
    return len(np.unique(np.frombuffer(seen, dtype=np.uint64))) == len(seen)
