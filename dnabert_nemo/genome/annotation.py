"""Transcripts and gene bodies, 0-based half-open; `annotation_file` reads them, `splice_sites` follows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnabert_nemo.errors import FormatError

Strand = Literal["+", "-"]
Interval = tuple[int, int]  # [start, end), 0-based, on the forward strand

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transcript:
    """The exons of one transcript: disjoint, rising, on the forward strand whatever `strand` is."""

    transcript_id: str
    gene_id: str
    contig: str
    strand: Strand
    exons: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class GeneBody:
    """What the transcripts of one gene span, introns included: [start, end) on the forward strand."""

    gene_id: str
    contig: str
    strand: Strand
    start: int
    end: int


def check_against_contigs(
    transcripts: Iterable[Transcript], lengths: Mapping[str, int], gff3_path: str | Path
) -> list[Transcript]:
    """Return the transcripts whose contig is in `lengths` (name to bases); the others are logged and dropped.

    Raises:
        FormatError: if no seqid is the name of a contig, or if an exon ends beyond its contig.
    """
    transcripts = list(transcripts)
    kept = [transcript for transcript in transcripts if transcript.contig in lengths]
    without_sequence = dict.fromkeys(t.contig for t in transcripts if t.contig not in lengths)
    if not kept:
        raise FormatError(gff3_path, _no_match(list(without_sequence), list(lengths)))
    for transcript in kept:
        end, length = transcript.exons[-1][1], lengths[transcript.contig]
        if end > length:
            where = f"transcript {transcript.transcript_id!r} ends at base {end:,} of {transcript.contig!r}"
            problem = f"{where}, which has {length:,} bases: give the annotation of this very assembly"
            raise FormatError(gff3_path, problem)
    if without_sequence:
        message = "%s: dropped %d transcripts on %d seqids that have no sequence: %s"
        num_dropped = len(transcripts) - len(kept)
        _log.warning(message, gff3_path, num_dropped, len(without_sequence), some(list(without_sequence)))
    return kept


def _no_match(seqids: list[str], contigs: list[str]) -> str:
    problem = f"none of its seqids ({some(seqids)}) is a contig of the FASTA ({some(contigs)})"
    if any(f"chr{seqid}" in contigs for seqid in seqids):
        return f"{problem}: put 'chr' before its seqids, as the FASTA has it"
    if any(seqid.startswith("chr") and seqid[3:] in contigs for seqid in seqids):
        return f"{problem}: take 'chr' off its seqids, as the FASTA has none"
    return f"{problem}: give both files of one source, or rename the seqids"


def some(names: list[str]) -> str:
    """Return the first of these names, and how many there are."""
    return ", ".join(names[:4]) + (f", ... {len(names)} in all" if len(names) > 4 else "")


def gene_bodies(transcripts: Iterable[Transcript]) -> list[GeneBody]:
    """Return what each gene spans, by contig, start and end; a gene on two strands or contigs gives two."""
    spans: dict[tuple[str, str, Strand], Interval] = {}
    for transcript in transcripts:
        key = (transcript.gene_id, transcript.contig, transcript.strand)
        start, end = transcript.exons[0][0], transcript.exons[-1][1]
        before_start, before_end = spans.get(key, (start, end))
        spans[key] = (min(start, before_start), max(end, before_end))
    bodies = [GeneBody(*key, *span) for key, span in spans.items()]
    return sorted(bodies, key=lambda body: (body.contig, body.start, body.end, body.gene_id, body.strand))
