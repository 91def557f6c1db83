"""Every position of held-out genes, and which of them are sites; `scan_rows` scores them.

n positions of a locus, W bases of a window. A locus is a gene, or the genes of one strand that share bases:
what is theirs together is there once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.genomes import KINDS, Genome
from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.protocols import protocol_of
from dnabert_nemo.downstream.splice_dataset import MANIFEST, SpliceDataset
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.alphabet import NOT_A_BASE, reverse_complement
from dnabert_nemo.genome.annotation import GeneBody, Strand, Transcript, gene_bodies, some
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.fasta import read_fastas
from dnabert_nemo.genome.splice_sites import SpliceSite, splice_sites
from dnabert_nemo.shards.records import file_sha256, random_order

_GENE_STREAM = 140  # of random numbers: which loci are drawn

Sites = dict[tuple[str, Strand], dict[str, NDArray[np.int64]]]  # starts by kind, rising


@dataclass(frozen=True)
class Span:
    """Where a locus is: a dinucleotide of it starts in [begin, end) of the forward strand."""

    genes: tuple[str, ...]
    contig: str
    strand: Strand
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Locus:
    """The positions of a locus that have a whole window, in the order of its strand.

    Args:
        codes: uint8, the bases of all windows, along the strand.
        offsets: int32 [n], where in `codes` each window begins, rising.
        is_site: bool [n, 2], whether its two middle bases are annotated, by SITE_LABELS.
        lost: what has no whole window, by reason: positions, and sites of each of SITE_LABELS.
    """

    span: Span
    codes: NDArray[np.uint8]
    offsets: NDArray[np.int32]
    is_site: NDArray[np.bool_]
    lost: dict[str, Counter[str]]

    def __len__(self) -> int:
        return len(self.offsets)


def held_out_loci(
    dataset: SpliceDataset, genomes: Sequence[Genome], *, genes: int | None, seed: int
) -> list[Locus]:
    """Read the loci of a data set's test contigs, or as many as `genes` of them drawn by `seed`.

    Holds one contig in memory, and the bases of the loci.

    Raises:
        ConfigError: the data set was not split by contig, or is not of these files; there are no such genes,
            fewer than asked, or no site among them.
        FormatError: a file is none of those the data set was made of, or cannot be read.
    """
    _check_split(dataset)
    _check_inputs(dataset, genomes)
    contigs = _test_contigs(dataset)
    transcripts = [transcript for genome in genomes for transcript in _held_out_transcripts(genome, contigs)]
    spans = drawn_spans(merged_spans(gene_bodies(transcripts)), genes, seed)
    if not spans:
        raise ConfigError(
            f"dataset_path={dataset.path}: no gene on its test contigs ({some(sorted(contigs)) or 'none'}): "
            "prepare it with split.test=[CONTIG] of one that has genes"
        )
    sites = sites_by_strand(splice_sites(transcripts))
    loci = []
    for genome in genomes:
        for contig in read_fastas(genome.fasta):
            own = [span for span in spans if span.contig == genome.contig(contig.name)]
            loci += [locus_of(span, contig.codes, sites, dataset.window) for span in own]
    _check_sites(loci, dataset.window)
    return loci


def merged_spans(bodies: Iterable[GeneBody]) -> list[Span]:
    """Join the genes of one strand that share bases, sorted by contig, strand and start."""
    found: list[Span] = []
    pairs = [body for body in bodies if body.end - body.start > 1]  # a single base is no dinucleotide
    for body in sorted(pairs, key=lambda body: (body.contig, body.strand, body.start, body.end)):
        end = body.end - 1  # of the starts of its dinucleotides
        last = found[-1] if found else None
        if last and (last.contig, last.strand) == (body.contig, body.strand) and body.start <= last.end:
            genes = (*last.genes, body.gene_id)
            found[-1] = Span(genes, last.contig, last.strand, last.begin, max(last.end, end))
        else:
            found.append(Span((body.gene_id,), body.contig, body.strand, body.start, end))
    return found


def drawn_spans(spans: Sequence[Span], genes: int | None, seed: int) -> list[Span]:
    """Draw as many of the spans as `genes`, by seed, in their order; None for all.

    Raises:
        ConfigError: `genes` is no number from 1 to as many as there are.
    """
    if genes is None or not spans:
        return list(spans)
    if type(genes) is not int or not 1 <= genes <= len(spans):
        raise ConfigError(
            f"genes={genes}: there are {len(spans):,} on the test contigs, those that overlap on a strand "
            f"taken together: give a number from 1 to {len(spans)}, or null for all"
        )
    return [spans[at] for at in sorted(random_order(len(spans), seed, _GENE_STREAM)[:genes].tolist())]


def sites_by_strand(sites: Iterable[SpliceSite]) -> Sites:
    """Return the starts of unique sites, rising, by contig and strand and by SITE_LABELS."""
    starts: dict[tuple[str, Strand], dict[str, list[int]]] = {}
    for site in sites:
        of_strand = starts.setdefault((site.contig, site.strand), {label: [] for label in SITE_LABELS})
        of_strand[site.kind].append(site.start)
    return {
        key: {label: np.array(sorted(own), dtype=np.int64) for label, own in by_label.items()}
        for key, by_label in starts.items()
    }


def locus_of(span: Span, contig: NDArray[np.uint8], sites: Sites, width: int) -> Locus:
    """Find the positions of a span whose windows of `width` bases stay on the contig and have no N."""
    starts = np.arange(span.begin, span.end)
    left = starts + 1 - width // 2
    is_inside = (left >= 0) & (left + width <= len(contig))
    lo = min(max(0, int(left[0])), len(contig))
    codes = contig[lo : int(left[-1]) + width]
    num_unknown = np.concatenate([[0], np.cumsum(codes == NOT_A_BASE)])
    at = left[is_inside] - lo
    is_whole = is_inside.copy()
    is_whole[is_inside] = num_unknown[at + width] == num_unknown[at]
    of_strand = sites.get((span.contig, span.strand), {})
    nothing = np.empty(0, dtype=np.int64)
    is_site = np.stack([np.isin(starts, of_strand.get(label, nothing)) for label in SITE_LABELS], axis=1)
    lost = {
        "outside_contig": _counted(is_site[~is_inside]),
        "not_acgt": _counted(is_site[is_inside & ~is_whole]),
    }
    offsets, is_site = left[is_whole] - lo, is_site[is_whole]
    if span.strand == "-":
        codes, offsets = reverse_complement(codes), (len(codes) - width - offsets)[::-1]
        is_site = is_site[::-1]
    # a copy, or the whole contig would stay in memory
    return Locus(span, codes.copy(), offsets.astype(np.int32), is_site, lost)


def counts(loci: Sequence[Locus]) -> dict[str, Any]:
    """Count genes, loci, positions and sites, and what of these was lost, by reason."""
    lost: dict[str, Counter[str]] = {}
    for locus in loci:
        for reason, count in locus.lost.items():
            lost[reason] = lost.get(reason, Counter()) + count
    found = sum((_counted(locus.is_site) for locus in loci), Counter())
    names = ("positions", *SITE_LABELS)
    return {
        "genes": sum(len(locus.span.genes) for locus in loci),
        "loci": len(loci),
        **{name: found[name] for name in names},
        "lost": {reason: {name: count[name] for name in names} for reason, count in lost.items()},
    }


def _counted(is_site: NDArray[np.bool_]) -> Counter[str]:
    sites = dict(zip(SITE_LABELS, is_site.sum(0).tolist(), strict=True))
    return Counter({"positions": len(is_site), **sites})


def _check_split(dataset: SpliceDataset) -> None:
    name = dataset.manifest["protocol"]
    if not protocol_of(name).by_contig:
        raise ConfigError(
            f"dataset_path={dataset.path}: protocol={name} holds windows out at random, so that no gene is "
            "held out: prepare it with protocol=hard or card_by_contig"
        )


def _check_inputs(dataset: SpliceDataset, genomes: Sequence[Genome]) -> None:
    """See that these are the files the data set was made of, by their hashes, each of its own genome."""
    inputs = dataset.manifest["inputs"]
    name_of = {(file.get("genome", ""), file["sha256"]): file["name"] for file in inputs}
    keys = [genome.key(kind) for genome in genomes for kind in KINDS]
    given = set()
    for genome in genomes:
        for kind, paths in zip(KINDS, (genome.fasta, genome.annotation), strict=True):
            for path in paths:
                if not path.is_file():
                    raise FormatError(path, f"no such file: check the path in {genome.key(kind)}")
                given.add(found := (genome.name, file_sha256(path)))
                if found not in name_of:
                    names = some(list(name_of.values()))
                    of = f" of genome {genome.name}" if genome.name else ""
                    problem = (
                        f"not one of the files{of} that {dataset.path} was made of ({names}), by their sha256"
                    )
                    raise FormatError(path, f"{problem}: give those in {' and '.join(keys)}")
    if missing := [name for found, name in name_of.items() if found not in given]:
        raise ConfigError(
            f"{' and '.join(keys)} lack {missing[0]}, which {dataset.path} was made of "
            f"({dataset.path / MANIFEST}): give all of its files"
        )


def _test_contigs(dataset: SpliceDataset) -> set[str]:
    """Return the contigs that were held out: those named, with windows or without, or those drawn.

    Among them are the names of genomes of which all are.
    """
    return {*(dataset.manifest["split"]["test"] or ()), *dataset.manifest["contigs"]["test"]}


def _held_out_transcripts(genome: Genome, contigs: set[str]) -> list[Transcript]:
    """Read a genome's transcripts on these contigs, which they name as the data set does."""
    held_out = []
    for path in genome.annotation:
        for transcript in read_annotation(path):
            name = genome.contig(transcript.contig)
            if name in contigs or (genome.name and genome.name in contigs):
                held_out.append(replace(transcript, contig=name))
    return held_out


def _check_sites(loci: Sequence[Locus], width: int) -> None:
    found = counts(loci)
    for label in SITE_LABELS:
        if not found[label]:
            raise ConfigError(
                f"none of {found['genes']:,} genes has a {label} with a whole window of {width} bases: draw "
                "more by genes=NUMBER, or prepare the data set with other contigs in split.test"
            )
