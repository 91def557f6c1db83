"""A corpus to finished shard sets for train, validation and test, in two passes; `reader` opens them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.read_report import write_read_report
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.describe import component_names, describe_set
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, Unit, assign_splits
from dnabert_nemo.shards.survey import Scan, scan_corpus
from dnabert_nemo.shards.workers import Run, WorkerSettings, workers
from dnabert_nemo.shards.writer import Origin, ShardJob, plan_shards, write_shard

log = logging.getLogger(__name__)


def prepare_shards(
    corpus: Corpus,
    output: Output,
    settings: ShardSettings,
    split: SplitSettings,
    worker_settings: WorkerSettings | None = None,
) -> dict[str, Manifest]:
    """Write the shard sets of one corpus, a folder for each split that has contigs; return their manifests.

    All of the output appears at once, when all is written. The same corpus, settings and split give the same
    bytes, whoever does the work. The first pass holds a few megabases of each input in memory, the second one
    record a worker; scratch files of one byte a letter lie on disk until the shards are written.

    Raises:
        ConfigError: the output exists, the splits do not fit the contigs, or the weights not the components.
        FormatError: an input file is missing or damaged, or there is nothing in it to use.
        ShardError: the shards cannot be written.
    """
    output.check()
    began = time.monotonic()
    with output.published() as (folder, scratch), workers(worker_settings or WorkerSettings()) as run:
        scan = scan_corpus(corpus, scratch, settings, run)
        for tally in scan.tallies:
            log.info(tally.summary())
        _log_scan(scan, settings.min_stretch)
        corpus.mixture.check({contig.component for contig in scan.contigs})
        units = [Unit(contig.name, contig.component, contig.num_bases) for contig in scan.contigs]
        split_of = assign_splits(units, split, settings.seed)
        manifests = _write_sets(corpus, scan, split_of, folder, settings, run)
        if scan.tallies:
            write_read_report(scan.tallies, folder)
    log.info("finished in %.1f s", time.monotonic() - began)
    return manifests


def _write_sets(
    corpus: Corpus, scan: Scan, split_of: NDArray[np.int64], folder: Path, settings: ShardSettings, run: Run
) -> dict[str, Manifest]:
    jobs: dict[str, list[ShardJob]] = {}
    for place, name in enumerate(SPLITS):
        members = split_of == place
        stretches = scan.stretches[members[scan.stretches["contig"]]]
        if len(stretches):
            (folder / name).mkdir()
            jobs[name] = plan_shards(
                folder / name,
                stretches,
                _origins(scan, members),
                k=settings.k,
                records_per_shard=settings.records_per_shard,
                seed=settings.seed,
                stream=place,
            )
    # the shards of all splits at once, so that no worker waits for the last one of a split
    written = iter(list(run(write_shard, [job for of_split in jobs.values() for job in of_split])))
    manifests = {}
    for name, of_split in jobs.items():
        shards = [next(written) for _ in of_split]
        members = split_of == SPLITS.index(name)
        manifests[name] = describe_set(name, scan, members, settings, corpus.mixture, shards)
        manifests[name].write(folder / name)
        _log_set(manifests[name])
    return manifests


def _origins(scan: Scan, members: NDArray[np.bool_]) -> list[Origin]:
    number = {name: place for place, name in enumerate(component_names(scan, members))}
    return [
        Origin(contig.name, kind, contig.component, number.get(contig.component, 0), contig.sources, scratch)
        for contig, kind, scratch in zip(scan.contigs, scan.kinds, scan.scratch, strict=True)
    ]


def _log_scan(scan: Scan, min_stretch: int) -> None:
    totals = {
        key: sum(getattr(contig, key) for contig in scan.contigs)
        for key in (
            "num_bases",
            "num_not_bases",
            "num_short_bases",
            "num_short_stretches",
            "num_excluded_bases",
        )
    }
    excluded = totals["num_excluded_bases"]
    log.info(
        f"input: {len(scan.inputs)} files, {len(scan.contigs)} contigs, {totals['num_bases']:,} usable "
        f"bases; skipped {totals['num_not_bases']:,} letters other than A, C, G, T and "
        f"{totals['num_short_bases']:,} bases in {totals['num_short_stretches']:,} stretches of under "
        f"{min_stretch}" + (f", and {excluded:,} bases outside the regions" if excluded else "")
    )


def _log_set(manifest: Manifest) -> None:
    log.info(
        f"{manifest.split}: {len(manifest.contigs)} contigs, {manifest.num_bases:,} bases, "
        f"{manifest.num_tokens:,} tokens (k={manifest.k}), {manifest.num_records:,} records in "
        f"{len(manifest.shards)} shards, base-composition entropy {manifest.composition_entropy:.4f} nats"
    )
