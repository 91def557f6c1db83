"""FASTA in, the regions that are no copies of others out: one window stays of each group of duplicates.

`prepare_shards` takes the regions it writes as the ones to include. The input is read three times: windows
are listed; keys are made of them; those that may be duplicates are written out, to be compared.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.duplicates.candidates import MAX_WINDOWS
from dnabert_nemo.duplicates.groups import Groups, UnionFind, gather_groups
from dnabert_nemo.duplicates.passes import Scratch
from dnabert_nemo.duplicates.report import JSON, MARKDOWN, BigGroup, DuplicateReport
from dnabert_nemo.duplicates.search import (
    find_candidates,
    find_copies,
    join_similar,
    likeness,
    list_inputs,
    make_keys,
    pack_candidates,
)
from dnabert_nemo.duplicates.settings import DuplicateSettings, Inputs, checked_inputs
from dnabert_nemo.duplicates.signatures import Bands, choose_bands, rensa_version
from dnabert_nemo.duplicates.similarity import REAL_SEQUENCE, chance_similarity, check_chance, identity, short
from dnabert_nemo.duplicates.tables import (
    GROUPS,
    KEPT,
    KEPT_BY_FILE,
    FileWindows,
    write_groups,
    write_kept,
)
from dnabert_nemo.duplicates.windows import ListedFile
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.fasta import Names
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.manifest import InputFile
from dnabert_nemo.shards.workers import Run, WorkerSettings, workers

SCRATCH = "scratch"  # in the unfinished folder while windows are compared
_BIGGEST = 20  # groups listed in the report

log = logging.getLogger(__name__)


def deduplicate(
    fasta: Sequence[str | Path],
    output_dir: str | Path,
    settings: DuplicateSettings,
    *,
    names: Names = "first_word",
    worker_settings: WorkerSettings | None = None,
    overwrite: bool = False,
) -> DuplicateReport:
    """Find the duplicate windows of FASTA files and write what stays, the groups and a report.

    `output_dir` appears when all is written: kept.bed, groups.tsv, report.json and report.md, and of several
    files kept/FILE.bed. The same input, settings and seed give the same bytes, whatever the workers are.

    Raises:
        ConfigError: an input is a pipe, `output_dir` exists or cannot be written, rensa is not installed, or
            chance alone makes windows as long as these too similar.
        FormatError: a file cannot be read as FASTA, or there is no window in any.
        ShardError: a worker was killed.
    """
    inputs = checked_inputs(fasta, names)
    rensa_version()  # before any work
    written = (KEPT, KEPT_BY_FILE, GROUPS, JSON, MARKDOWN, SCRATCH)
    with (
        publish(output_dir, written, overwrite=overwrite) as folder,
        workers(worker_settings or WorkerSettings()) as run,
    ):
        (folder / SCRATCH).mkdir()
        report = _search(inputs, settings, folder, run)
        report.write(folder)
        shutil.rmtree(folder / SCRATCH)
    seconds = sum(report.seconds.values())
    log.info(f"finished in {seconds:.1f} s: {report.num_windows / seconds:,.0f} windows a second")
    return report


def _search(inputs: Inputs, settings: DuplicateSettings, folder: Path, run: Run) -> DuplicateReport:
    k, seed, threshold = settings.k, settings.seed, settings.max_similarity
    bands = choose_bands(threshold, settings.recall)
    clock = _Clock()
    with clock("list"):
        listed, files = list_inputs(inputs, settings.window, settings.min_stretch, folder / SCRATCH, run)
    scratch = Scratch(folder / SCRATCH, files[-1].after, bands.bands)
    chance = _checked_windows(inputs, listed, settings)
    _log_listed(listed, bands, chance, settings)
    with clock("keys"):
        make_keys(inputs, files, scratch, k, bands, seed, run)
    joined = UnionFind(scratch.num_windows)
    with clock("exact"):
        copies = find_copies(scratch, joined)
    with clock("candidates"):
        pairs = find_candidates(scratch, copies)
    log.info(f"exact: {len(copies.windows):,} windows have the bases of an earlier one, on either strand")
    with clock("pack"):
        num_packed = pack_candidates(inputs, files, scratch, pairs, run)
    with clock("compare"):
        num_compared = join_similar(pairs, threshold, scratch, k, seed, joined, run)
    windows = scratch.windows()
    with clock("groups"):
        groups = gather_groups(joined.roots(), windows["bases"])
        alike = likeness(groups, copies, scratch, k, seed, run)
        write_groups(folder, groups, alike, windows, files)
        is_kept = np.ones(scratch.num_windows, dtype=np.bool_)
        is_kept[groups.dropped] = False
        has_one_bed = write_kept(folder, is_kept, scratch.table, files)
    num_bases = sum(file.num_bases for file in listed)
    report = DuplicateReport(
        settings=asdict(settings),
        versions={name: version(name) for name in ("dnabert_nemo", "rensa", "numpy")},
        inputs=tuple(InputFile(file.name, file.sha256) for file in listed),
        bands=bands,
        chance_similarity=chance,
        chance_pairs=scratch.num_windows * bands.chance_to_meet(chance),
        num_contigs=sum(file.num_contigs for file in listed),
        num_windows=scratch.num_windows,
        num_bases=num_bases,
        num_short_bases=sum(file.num_short_bases for file in listed),
        num_not_bases=sum(file.num_not_bases for file in listed),
        num_groups=len(groups.kept),
        num_exact=len(copies.windows),
        num_near=len(groups.dropped) - len(copies.windows),
        num_kept=scratch.num_windows - len(groups.dropped),
        num_kept_bases=num_bases - int(windows["bases"][groups.dropped].sum()),
        num_compared=num_compared,
        num_chained=int(np.count_nonzero(alike.similarity < threshold)),
        num_packed=num_packed,
        scratch_bytes=sum(path.stat().st_size for path in scratch.folder.iterdir()),
        has_one_bed=has_one_bed,
        biggest=_biggest(groups, windows, files),
        seconds=clock.seconds,
    )
    log.info(
        f"near: {report.num_near:,} windows are similar to one that stays; {num_compared:,} pairs compared\n"
        f"kept: {report.num_kept:,} of {report.num_windows:,} windows, {report.num_kept_bases:,} of "
        f"{num_bases:,} bases"
    )
    return report


def _checked_windows(inputs: Inputs, listed: Sequence[ListedFile], settings: DuplicateSettings) -> float:
    """Return the chance similarity of the two longest windows."""
    num_windows = sum(file.num_windows for file in listed)
    if not num_windows:
        others = f" nor in the {len(listed) - 1} files after it" if len(listed) > 1 else ""
        raise FormatError(
            inputs.paths[0],
            f"no stretch of {settings.min_stretch} bases of A, C, G, T in it{others}: lower min_stretch or "
            "give other sequence",
        )
    if num_windows >= MAX_WINDOWS:
        raise ConfigError(
            f"{num_windows:,} windows, more than the {MAX_WINDOWS:,} that can be compared: pass a longer "
            "window, or deduplicate the files in parts"
        )
    longest = sorted(bases for file in listed for bases in file.longest)
    bases = longest[-2] or longest[-1]
    if settings.window is not None:
        return chance_similarity(bases, settings.k)
    return check_chance(bases, settings.k, settings.max_similarity)


def _log_listed(
    listed: Sequence[ListedFile], bands: Bands, chance: float, settings: DuplicateSettings
) -> None:
    windows, bases = (sum(getattr(file, key) for file in listed) for key in ("num_windows", "num_bases"))
    threshold, k = settings.max_similarity, settings.k
    log.info(
        f"input: {len(listed)} files, {windows:,} windows, {bases:,} bases\n"
        f"similar: Jaccard {threshold} or more of the canonical {k}-mers, about "
        f"{100 * identity(threshold, k):.1f} % identity; by chance {short(chance)}; {bands.bands} bands of "
        f"{bands.rows} find {bands.chance_to_meet(threshold):.3f} of the pairs at {threshold}, more above it"
    )
    strangers = windows * bands.chance_to_meet(min(1.0, REAL_SEQUENCE * chance))
    if strangers > 1:
        log.warning(
            f"a window meets about {strangers:,.0f} strangers by chance, which takes time and may hide "
            f"duplicates: k={k + 2} parts them better"
        )


def _biggest(groups: Groups, windows: NDArray[np.void], files: Sequence[FileWindows]) -> tuple[BigGroup, ...]:
    sizes = np.bincount(groups.group, minlength=len(groups.kept))
    found = []
    for group in np.argsort(-sizes, kind="stable")[:_BIGGEST].tolist():
        file, contig, start, bases = windows[groups.kept[group]].tolist()
        found.append(
            BigGroup(files[file].label, files[file].names[contig], start, start + bases, int(sizes[group]))
        )
    return tuple(found)


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began
