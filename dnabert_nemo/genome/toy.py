"""A made-up genome as FASTA and GFF3, for tests and the quickstart; `toy_species` draws its DNA."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome import toy_species as species
from dnabert_nemo.genome.alphabet import NOT_A_BASE, decode, reverse_complement
from dnabert_nemo.genome.annotation import Interval, Strand

MIN_CHROMOSOME_LENGTH = 20_000  # bases; room for a few genes

_END = 800  # bases without genes at either end of a chromosome; its outer half may be N
_GAP_BETWEEN_GENES = (300, 1_500)
_MARGIN = 60  # bases at an intron's ends that no repeat may cover
_LINE_WIDTH = 60


@dataclass(frozen=True, slots=True)
class _Gene:
    strand: Strand
    exons: list[Interval]  # rising, on the forward strand
    isoforms: list[tuple[int, ...]]  # which of `exons` each transcript has


@dataclass(frozen=True, slots=True)
class _Chromosome:
    codes: NDArray[np.uint8]
    is_repeat: NDArray[np.bool_]
    genes: list[_Gene]


def write_toy_genome(
    output_dir: str | Path, seed: int, num_chromosomes: int = 5, chromosome_length: int = 60_000
) -> tuple[Path, Path]:
    """Write `toy.fa` and `toy.gff3` (in Ensembl's style) to `output_dir` and return their paths.

    Chromosomes "1", "2", ... of `chromosome_length` bases carry genes on both strands that do not overlap,
    isoforms that share splice sites, soft-masked repeats and runs of N. The same arguments write the same
    bytes; all seeds are genomes of one species.

    Raises:
        ConfigError: if an argument is out of its range or `output_dir` cannot be written to.
    """
    limits = {"seed": (seed, 0), "num_chromosomes": (num_chromosomes, 1)}
    limits["chromosome_length"] = (chromosome_length, MIN_CHROMOSOME_LENGTH)
    for name, (value, minimum) in limits.items():
        if not isinstance(value, int) or value < minimum:
            raise ConfigError(f"{name}={value}: give a whole number of at least {minimum}")
    fasta: list[str] = []
    gff3 = ["##gff-version 3\n"]
    gff3 += [f"##sequence-region   {n + 1} 1 {chromosome_length}\n" for n in range(num_chromosomes)]
    num_genes = 0
    for number in range(num_chromosomes):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
        chromosome = _chromosome(chromosome_length, rng)
        fasta += _fasta_lines(str(number + 1), chromosome)
        for gene in chromosome.genes:
            num_genes += 1
            gff3 += _gff3_lines(str(number + 1), gene, num_genes)
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        return _write(output_dir / "toy.fa", fasta), _write(output_dir / "toy.gff3", gff3)
    except OSError as error:
        raise ConfigError(f"output_dir={output_dir} cannot be written to: {error.strerror}") from None


def _chromosome(length: int, rng: np.random.Generator) -> _Chromosome:
    """Lay genes on a background from left to right, then repeats between and inside them, then runs of N."""
    codes = species.background(length, rng)
    genes: list[_Gene] = []
    between: list[Interval] = []
    end_of_last, start = 0, _END
    while True:
        exon_lengths, intron_lengths = species.gene_structure(rng)
        end = start + int(exon_lengths.sum() + intron_lengths.sum())
        if end > length - _END:
            break
        genes.append(_lay_gene(codes[start:end], start, exon_lengths, intron_lengths, rng))
        between.append((end_of_last, start))
        end_of_last, start = end, end + int(rng.integers(*_GAP_BETWEEN_GENES))
    between.append((end_of_last, length))
    is_repeat = np.zeros(length, dtype=bool)
    inside = [(left[1], right[0]) for gene in genes for left, right in pairwise(gene.exons)]
    for left, right in between + inside:
        _lay_repeats(codes, is_repeat, left + _MARGIN, right - _MARGIN, rng)
    _lay_gaps(codes, is_repeat, between, rng)
    return _Chromosome(codes, is_repeat, genes)


def _lay_gene(
    codes: NDArray[np.uint8],
    start: int,
    exon_lengths: NDArray[np.int64],
    intron_lengths: NDArray[np.int64],
    rng: np.random.Generator,
) -> _Gene:
    """Write a gene over `codes`, the background it covers from `start` on, on either strand."""
    strand: Strand = "+" if rng.random() < 0.5 else "-"
    sequence = codes.copy() if strand == "+" else reverse_complement(codes)
    message, cuts = species.message(exon_lengths, rng)
    exons: list[Interval] = []
    at = 0
    for number, exon in enumerate(np.split(message, cuts)):
        sequence[at : at + len(exon)] = exon
        exons.append((at, at + len(exon)))
        at += len(exon)
        if number < len(intron_lengths):
            species.mark_intron(sequence[at : at + intron_lengths[number]], rng)
            at += int(intron_lengths[number])
    isoforms = species.isoforms(len(exons), rng)
    if strand == "-":
        sequence = reverse_complement(sequence)
        exons = [(len(codes) - right, len(codes) - left) for left, right in reversed(exons)]
    codes[:] = sequence
    return _Gene(strand, [(start + left, start + right) for left, right in exons], isoforms)


def _lay_repeats(
    codes: NDArray[np.uint8],
    is_repeat: NDArray[np.bool_],
    left: int,
    right: int,
    rng: np.random.Generator,
) -> None:
    for _ in range(rng.poisson(max(0, right - left) / 350)):
        repeat = species.repeat(rng)
        if len(repeat) <= right - left:
            start = int(rng.integers(left, right - len(repeat) + 1))
            codes[start : start + len(repeat)] = repeat
            is_repeat[start : start + len(repeat)] = True


def _lay_gaps(
    codes: NDArray[np.uint8], is_repeat: NDArray[np.bool_], between: list[Interval], rng: np.random.Generator
) -> None:
    """Write N over both ends of the chromosome and over the middle of its longest stretch without a gene."""
    ends = rng.integers(50, _END // 2, size=2)
    left, right = max(between[1:-1] or between, key=lambda interval: interval[1] - interval[0])
    half = int(rng.integers(10, (right - left) // 6))
    middle = (left + right) // 2
    for start, end in ((0, ends[0]), (len(codes) - ends[1], len(codes)), (middle - half, middle + half)):
        codes[start:end] = NOT_A_BASE
        is_repeat[start:end] = False


def _fasta_lines(name: str, chromosome: _Chromosome) -> list[str]:
    length = len(chromosome.codes)
    letters = np.frombuffer(decode(chromosome.codes).encode(), dtype=np.uint8)
    lower_case = chromosome.is_repeat * np.uint8(ord("a") - ord("A"))
    sequence = (letters + lower_case).tobytes().decode("ascii")
    lines = [f">{name} dna_sm:chromosome chromosome:TOY1:{name}:1:{length}:1 REF\n"]
    return lines + [f"{sequence[at : at + _LINE_WIDTH]}\n" for at in range(0, length, _LINE_WIDTH)]


def _gff3_lines(contig: str, gene: _Gene, number: int) -> list[str]:
    gene_id = f"TOYG{number:011d}"

    def row(kind: str, start: int, end: int, attributes: str) -> str:
        return f"{contig}\ttoy\t{kind}\t{start + 1}\t{end}\t.\t{gene.strand}\t.\t{attributes}\n"

    start, end = gene.exons[0][0], gene.exons[-1][1]
    lines = [row("gene", start, end, f"ID=gene:{gene_id};biotype=protein_coding;gene_id={gene_id}")]
    for isoform_number, isoform in enumerate(gene.isoforms, start=1):
        transcript_id = f"TOYT{number:08d}{isoform_number:03d}"
        start, end = gene.exons[isoform[0]][0], gene.exons[isoform[-1]][1]
        names = f"ID=transcript:{transcript_id};Parent=gene:{gene_id};transcript_id={transcript_id}"
        lines.append(row("mRNA", start, end, names))
        in_transcription_order = isoform if gene.strand == "+" else isoform[::-1]
        for rank, exon in enumerate(in_transcription_order, start=1):
            names = f"Parent=transcript:{transcript_id};exon_id=TOYE{number:08d}{exon + 1:03d};rank={rank}"
            lines.append(row("exon", *gene.exons[exon], names))
    return [*lines, "###\n"]


def _write(path: Path, lines: list[str]) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(lines), encoding="ascii", newline="\n")
    os.replace(partial, path)
    return path
