"""The first pass over a whole corpus: a job for every input, what they found put together; after `scan`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.read_report import ReadTally
from dnabert_nemo.shards.corpus import Assembly, Corpus, Reads
from dnabert_nemo.shards.manifest import ContigEntry, InputFile, Kind
from dnabert_nemo.shards.scan import NO_STRETCHES, ScanPart, SequenceJob, scan_sequences
from dnabert_nemo.shards.scan_reads import ReadJob, SampleScan, scan_reads, with_equal_portions
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.stretches import StretchRule
from dnabert_nemo.shards.workers import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a corpus holds, in the order of the input; a sample of reads counts as one contig."""

    contigs: list[ContigEntry]
    kinds: list[Kind]  # of each contig
    scratch: list[Path]  # of each contig
    labels: dict[str, dict[str, str]]  # of each sample
    stretches: NDArray[np.void]  # STRETCH [num_stretches]; `contig` counts in `contigs`
    inputs: tuple[InputFile, ...]
    tallies: tuple[ReadTally, ...]  # of each sample


def scan_corpus(corpus: Corpus, scratch: Path, settings: ShardSettings, run: Run) -> Scan:
    """Read every input of a corpus once.

    Raises:
        ConfigError: regions are of contigs of other names, or two kinds of input share a component's name.
        FormatError: a file is not what it should be, a contig's name comes twice in an assembly, or no
            stretch is long enough.
    """
    sequence_jobs, read_jobs = _jobs(corpus, scratch, settings)
    parts = list(run(scan_sequences, sequence_jobs))
    samples: list[SampleScan] = with_equal_portions(list(run(scan_reads, read_jobs)))
    parts += [sample.part() for sample in samples]

    contigs = [contig for part in parts for contig in part.contigs]
    files = [job.file for job in sequence_jobs] + [str(job.sample.files[0]) for job in read_jobs]
    _check_names([part.contigs for part in parts], files)
    _check_kinds(parts)
    _check_regions(corpus, contigs)
    stretches = np.concatenate([NO_STRETCHES, *(part.stretches for part in parts)])
    if not len(stretches):
        others = f" nor in the {len(files) - 1} files after it" if len(files) > 1 else ""
        longest = max(part.longest for part in parts)
        raise FormatError(
            files[0],
            f"no stretch of {settings.min_stretch} bases of A, C, G, T in it{others}, the longest has "
            f"{longest}: lower min_stretch or give other sequence",
        )
    first = np.cumsum([0] + [len(part.contigs) for part in parts])
    stretches["contig"] += np.repeat(first[:-1], [len(part.stretches) for part in parts]).astype(np.int32)
    return Scan(
        contigs=contigs,
        kinds=[part.kind for part in parts for _ in part.contigs],
        scratch=[part.scratch for part in parts for _ in part.contigs],
        labels={job.sample.name: dict(job.sample.labels) for job in read_jobs},
        stretches=stretches,
        inputs=tuple(file for part in parts for file in part.inputs),
        tallies=tuple(sample.tally for sample in samples),
    )


def _jobs(corpus: Corpus, scratch: Path, settings: ShardSettings) -> tuple[list[SequenceJob], list[ReadJob]]:
    sequence_jobs: list[SequenceJob] = []
    read_jobs: list[ReadJob] = []
    for given in corpus.inputs:
        if isinstance(given, Reads):
            for sample in given.samples:
                path = scratch / f"reads-{len(read_jobs):06d}.letters"
                rule = StretchRule(settings.min_stretch, settings.non_acgt)
                read_jobs.append(ReadJob(sample, given, path, settings.k, rule, settings.seed))
            continue
        regions = (given.include, given.exclude) if isinstance(given, Assembly) else (None, None)
        rule = StretchRule(settings.min_stretch, settings.non_acgt, *regions)
        for file in given.files:
            path = scratch / f"sequences-{len(sequence_jobs):06d}.letters"
            sequence_jobs.append(SequenceJob(given, file, path, settings.k, rule))
    return sequence_jobs, read_jobs


def _check_names(parts: Sequence[Sequence[ContigEntry]], files: Sequence[str]) -> None:
    file_of: dict[tuple[str, str], str] = {}
    for contigs, file in zip(parts, files, strict=True):
        for contig in contigs:
            earlier = file_of.setdefault((contig.component, contig.name), file)
            if earlier != file:
                raise FormatError(
                    file,
                    f"contig {contig.name!r} is also in {earlier}: give every contig of an assembly a name "
                    "of its own, or make the files assemblies of their own in a corpus",
                )


def _check_kinds(parts: Sequence[ScanPart]) -> None:
    kind_of: dict[str, Kind] = {}
    for part in parts:
        for contig in part.contigs:
            earlier = kind_of.setdefault(contig.component, part.kind)
            if earlier != part.kind:
                raise ConfigError(
                    f"corpus: {contig.component!r} names a {part.kind} and a {earlier}: rename one"
                )


def _check_regions(corpus: Corpus, contigs: Sequence[ContigEntry]) -> None:
    """Refuse regions of contigs that are all of another naming, as chr1 is where the FASTA says 1."""
    for given in corpus.inputs:
        if not isinstance(given, Assembly):
            continue
        names = {contig.name for contig in contigs if contig.component == given.name}
        for key, regions in (("include", given.include), ("exclude", given.exclude)):
            others = sorted((regions or {}).keys() - names)
            if others and len(others) == len(regions or {}):
                raise ConfigError(
                    f"{key}: the regions of {given.name!r} are of {_some(others)}, its contigs are "
                    f"{_some(sorted(names))}: give regions under these names"
                )
            if others:
                log.info("%s: no contig of %s for the regions of %s", key, given.name, _some(others))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
