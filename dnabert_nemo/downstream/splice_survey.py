"""What a first pass over genomes and their annotations keeps, as arrays; `candidates` reads windows by it.

One contig is in memory at a time, and the annotation of one genome. c contigs in all, g genomes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.protocols import Protocol
from dnabert_nemo.downstream.splice_dataset import LABELS
from dnabert_nemo.downstream.splice_motifs import introns_of
from dnabert_nemo.downstream.splice_windows import Layout, negative_rooms, read_layouts, site_places
from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.annotation import Transcript, check_against_contigs, gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.splice_sites import SpliceSite, introns, isoform_sites, splice_sites
from dnabert_nemo.shards.splits import Unit


@dataclass(frozen=True, eq=False)
class Survey:
    """Contigs, numbered through all genomes in input order, and what is annotated on them.

    Args:
        genomes: [g].
        layouts: [c].
        genome_of: int64 [c], the place in `genomes` of each contig's.
        sites: PLACE, whether their windows are whole or not.
        introns: INTRON, as often as isoforms have them.
        rooms: ROOM, of windows of the width asked for.
        annotated: [g], sites by class index, with those on contigs that have no sequence.
    """

    genomes: Sequence[Genome]
    layouts: list[Layout]
    genome_of: NDArray[np.int64]
    sites: NDArray[np.void]
    introns: NDArray[np.void]
    rooms: NDArray[np.void]
    annotated: list[Counter[int]]

    @cached_property
    def contigs(self) -> list[str]:
        """The names of the contigs in a data set [c], human:19 where genomes have names."""
        return [
            self.genomes[genome].contig(layout.name)
            for genome, layout in zip(self.genome_of.tolist(), self.layouts, strict=True)
        ]

    def units(self, num_sites: NDArray[np.int64]) -> list[Unit]:
        """Return the contigs as a split has them, shares being of their sites [c]."""
        return [
            Unit(layout.name, self.genomes[genome].name, count)
            for genome, layout, count in zip(
                self.genome_of.tolist(), self.layouts, num_sites.tolist(), strict=True
            )
        ]


def survey(genomes: Sequence[Genome], protocol: Protocol, width: int) -> Survey:
    """Read the annotation and the contigs of each genome, one after the other.

    Raises:
        FormatError: a file is missing or damaged; an annotation has no introns, or is of other contigs.
    """
    layouts: list[Layout] = []
    genome_of: list[int] = []
    parts: list[tuple[NDArray[np.void], NDArray[np.void], NDArray[np.void]]] = []
    annotated = []
    for number, genome in enumerate(genomes):
        own, part, count = _of_genome(genome, protocol, width)
        for rows in part:
            rows["contig"] += len(layouts)
        layouts += own
        genome_of += [number] * len(own)
        parts.append(part)
        annotated.append(count)
    sites, found_introns, rooms = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    return Survey(
        genomes, layouts, np.array(genome_of, dtype=np.int64), sites, found_introns, rooms, annotated
    )


def _of_genome(
    genome: Genome, protocol: Protocol, width: int
) -> tuple[list[Layout], tuple[NDArray[np.void], NDArray[np.void], NDArray[np.void]], Counter[int]]:
    """Return layouts; sites, introns and rooms by the number of the contig in this genome; and counts."""
    by_file = _read_annotation(genome)
    every = annotated_sites(chain.from_iterable(by_file.values()), protocol)
    annotated = Counter(LABELS.index(site.kind) for site in every)
    layouts = read_layouts(genome.fasta)
    lengths = {layout.name: layout.length for layout in layouts}
    checked = (check_against_contigs(of_file, lengths, path) for path, of_file in by_file.items())
    transcripts = list(chain.from_iterable(checked))
    part = (
        site_places(annotated_sites(transcripts, protocol), layouts),
        introns_of(transcripts, layouts),
        negative_rooms(gene_bodies(transcripts), layouts, width),
    )
    return layouts, part, annotated


def annotated_sites(transcripts: Iterable[Transcript], protocol: Protocol) -> list[SpliceSite]:
    """Return the sites as a protocol counts them: each once, or once for each isoform."""
    return splice_sites(transcripts) if protocol.is_unique else isoform_sites(transcripts)


def _read_annotation(genome: Genome) -> dict[Path, list[Transcript]]:
    """Read the transcripts of each file of a genome; there must be an intron in one of them."""
    paths = genome.annotation
    by_file = {path: read_annotation(path) for path in paths}
    transcripts = list(chain.from_iterable(by_file.values()))
    if not any(introns(transcript) for transcript in transcripts):
        others = f" nor in the {len(paths) - 1} files after it" if len(paths) > 1 else ""
        problem = f"no splice sites in it{others}: none of {len(transcripts):,} transcripts has an intron"
        remedy = "give the annotation of a genome whose genes are spliced"
        if genome.name:
            problem, remedy = f"genome {genome.name!r}: {problem}", f"{remedy}, or leave {genome.name} out"
        raise FormatError(paths[0], f"{problem}; {remedy}")
    return by_file
