"""FASTA to finished shard sets for train, validation and test, in two passes; `reader` opens them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import BASES
from dnabert_nemo.kmer.vocabulary import MAX_K, Vocabulary
from dnabert_nemo.shards.manifest import FORMAT_VERSION, InputFile, Manifest, ShardFile
from dnabert_nemo.shards.publish import SCRATCH, check_output_dir, published
from dnabert_nemo.shards.records import BLOCK_BASES
from dnabert_nemo.shards.scan import Scan, scan_genome
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, assign_splits
from dnabert_nemo.shards.writer import ShardJob, file_sha256, plan_shards, write_shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardSettings:
    """What decides the bytes of a shard set, besides its input and split.

    Raises:
        ConfigError: a value is out of range.
    """

    k: int
    seed: int
    min_stretch: int  # bases; shorter unbroken stretches are skipped
    records_per_shard: int

    def __post_init__(self) -> None:
        _check_whole_number("tokenizer.k", self.k, 1, MAX_K)
        _check_whole_number("seed", self.seed, 0, 2**64 - 1)
        _check_whole_number("min_stretch", self.min_stretch, 1)
        _check_whole_number("records_per_shard", self.records_per_shard, 1)
        if self.min_stretch < self.k:
            raise ConfigError(
                f"min_stretch={self.min_stretch} is shorter than one k-mer: "
                f"pass min_stretch={self.k} or more, or a smaller tokenizer.k"
            )


def _check_whole_number(key: str, value: object, low: int, high: int | None = None) -> None:
    if type(value) is not int or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{key}={value}: give a whole number {limits}")


def prepare_shards(
    fasta: Sequence[Path],
    output_dir: Path,
    settings: ShardSettings,
    split: SplitSettings,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
) -> dict[str, Manifest]:
    """Write the shard sets of one genome, a folder for each split that has contigs; return their manifests.

    The whole of `output_dir` appears at once, when all is written. The same input, settings and split give
    the same bytes, whatever `num_workers` is. The first pass holds one contig in memory, the second one
    record a worker; a scratch file of one byte a base lies beside the shards until they are written.

    Raises:
        ConfigError: `output_dir` exists, or the splits do not fit the contigs.
        FormatError: an input file is missing or damaged, or there is nothing in it to use.
        ShardError: the shards cannot be written.
    """
    _check_whole_number("num_workers", num_workers, 1)
    if not fasta:
        raise ConfigError("input.fasta=[] names no file: pass input.fasta=[a.fa.gz,b.fa]")
    output_dir = output_dir.absolute()
    check_output_dir(output_dir, overwrite)
    began = time.monotonic()
    with published(output_dir) as folder:
        manifests = _write_sets(fasta, folder, settings, split, num_workers)
    log.info("finished in %.1f s", time.monotonic() - began)
    return manifests


def _write_sets(
    fasta: Sequence[Path], folder: Path, settings: ShardSettings, split: SplitSettings, num_workers: int
) -> dict[str, Manifest]:
    scratch = folder / SCRATCH
    scan = scan_genome(fasta, scratch, settings.k, settings.min_stretch)
    _log_scan(scan, len(fasta), settings.min_stretch)
    split_of = assign_splits(
        [contig.name for contig in scan.contigs], scan.usable_bases, split, settings.seed
    )
    jobs: dict[str, list[ShardJob]] = {}
    for place, name in enumerate(SPLITS):
        stretches = scan.stretches[split_of[scan.stretches["contig"]] == place]
        if len(stretches):
            (folder / name).mkdir()
            jobs[name] = plan_shards(
                folder / name,
                scratch,
                stretches,
                scan.contigs,
                k=settings.k,
                records_per_shard=settings.records_per_shard,
                seed=settings.seed,
                stream=place,
            )
    all_jobs = [job for of_split in jobs.values() for job in of_split]
    shards = iter(list(write_shards(all_jobs, num_workers)))
    written = {name: tuple(next(shards) for _ in of_split) for name, of_split in jobs.items()}
    inputs = tuple(InputFile(path.name, file_sha256(path)) for path in fasta)
    manifests = {}
    for name, files in written.items():
        members = np.flatnonzero(split_of == SPLITS.index(name))
        manifests[name] = _manifest(name, scan, members, settings, files, inputs)
        manifests[name].write(folder / name)
        _log_set(manifests[name])
    scratch.unlink()
    return manifests


def _manifest(
    split: str,
    scan: Scan,
    members: NDArray[np.int64],
    settings: ShardSettings,
    shards: tuple[ShardFile, ...],
    inputs: tuple[InputFile, ...],
) -> Manifest:
    counts = scan.counts[members]
    bases = scan.stretches["bases"][np.isin(scan.stretches["contig"], members)]
    return Manifest(
        format_version=FORMAT_VERSION,
        split=split,
        k=settings.k,
        vocabulary_sha256=Vocabulary(settings.k).sha256,
        seed=settings.seed,
        min_stretch=settings.min_stretch,
        block_bases=BLOCK_BASES,
        num_records=sum(shard.num_records for shard in shards),
        num_stretches=len(bases),
        num_bases=int(counts["bases"].sum()),
        num_tokens=int((bases - settings.k + 1).sum()),
        base_counts=dict(zip(BASES, counts["bases"].sum(axis=0).tolist(), strict=True)),
        num_short_stretches=int(counts["short_stretches"].sum()),
        num_short_bases=int(counts["short_bases"].sum()),
        num_not_bases=int(counts["not_bases"].sum()),
        shards=shards,
        inputs=inputs,
        contigs=tuple(scan.contigs[member] for member in members.tolist()),
    )


def _log_scan(scan: Scan, num_files: int, min_stretch: int) -> None:
    short_bases, short_stretches = (scan.counts[key].sum() for key in ("short_bases", "short_stretches"))
    log.info(
        f"input: {num_files} files, {len(scan.contigs)} contigs, {scan.usable_bases.sum():,} usable bases; "
        f"skipped {scan.counts['not_bases'].sum():,} letters other than A, C, G, T and {short_bases:,} bases "
        f"in {short_stretches:,} stretches of under {min_stretch}"
    )


def _log_set(manifest: Manifest) -> None:
    log.info(
        f"{manifest.split}: {len(manifest.contigs)} contigs, {manifest.num_bases:,} bases, "
        f"{manifest.num_tokens:,} tokens (k={manifest.k}), {manifest.num_records:,} records in "
        f"{len(manifest.shards)} shards, base-composition entropy {manifest.composition_entropy:.4f} nats"
    )
