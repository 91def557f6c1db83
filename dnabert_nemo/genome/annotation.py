"""GFF3 to transcripts and gene bodies, 0-based half-open; `splice_sites` finds the introns' ends in them."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.source import Source, quoted

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


@dataclass(slots=True)
class _Exons:
    contig: str
    strand: Strand
    intervals: list[Interval]
    is_in_one_place: bool = True


def read_gff3(path: str | Path) -> list[Transcript]:
    """Read the transcripts of a GFF3 file, plain or packed, in the order of their first exon.

    Only `exon` rows and their parents count: an exon belongs to every transcript in its Parent, and a
    transcript to the gene in its own Parent, or to itself where it has none. As gffread does, exons of one
    transcript that overlap or touch are merged. A transcript with exons on two strands or contigs
    (trans-splicing) has no introns of the usual kind and is left out. Both are logged.

    Raises:
        FormatError: with the line, if a row lacks columns or an exon has bad coordinates, a bad strand or no
            Parent; if there is no exon row; if the file is missing or damaged.
    """
    path = Path(path)
    num_rows: Counter[str] = Counter()
    exons_of: dict[str, _Exons] = {}
    gene_of: dict[str, str] = {}
    with Source(path).open() as stream:
        for line, text in _feature_lines(stream):
            columns = text.split("\t")
            if len(columns) < 9:
                problem = f"{len(columns)} columns where GFF3 has 9, separated by tabs: {quoted(text)}"
                raise FormatError(path, problem, line=line)
            kind = columns[2]
            num_rows[kind] += 1
            if kind == "exon":
                contig, strand, interval = _placed(columns, path, line)
                for parent in _parents(columns[8], path, line):
                    exons = exons_of.setdefault(parent, _Exons(contig, strand, []))
                    exons.is_in_one_place &= (exons.contig, exons.strand) == (contig, strand)
                    exons.intervals.append(interval)
            elif gene_ids := _attribute(columns[8], "Parent"):
                gene_of[unquote(_attribute(columns[8], "ID"))] = unquote(gene_ids.split(",")[0])
    if not exons_of:
        raise FormatError(path, _no_exons(num_rows))
    return _transcripts(exons_of, gene_of, path)


def _feature_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), start=1):
        if text.startswith(("##FASTA", ">")):  # sequence to the end of the file
            return
        if not text.startswith("#") and not text.isspace():
            yield line, text


def _placed(columns: Sequence[str], path: Path, line: int) -> tuple[str, Strand, Interval]:
    try:
        start, end = int(columns[3]), int(columns[4])
    except ValueError:
        problem = f"coordinates {columns[3]!r} and {columns[4]!r} are not whole numbers"
        raise FormatError(path, problem, line=line) from None
    if not 1 <= start <= end:
        problem = f"exon from {start} to {end}: GFF3 counts from 1, and the start is not above the end"
        raise FormatError(path, problem, line=line)
    match columns[6]:
        case "+" | "-" as strand:
            return unquote(columns[0]), strand, (start - 1, end)
        case other:
            raise FormatError(path, f"an exon's strand must be + or -, here is {other!r}", line=line)


# Not by gffutils: it guesses a dialect for each line, so that `Note=5" end` or a space after a semicolon can
# end up inside Parent (neither means anything in GFF3), and a whole annotation takes it six times as long.
def _attribute(attributes: str, key: str) -> str:
    """Return the value of `key` in GFF3's ninth column as it stands, escaped, or "" without it."""
    for attribute in attributes.split(";"):
        name, _, value = attribute.strip().partition("=")
        if name == key:
            return value
    return ""


def _parents(attributes: str, path: Path, line: int) -> list[str]:
    parents = [unquote(parent) for parent in _attribute(attributes, "Parent").split(",") if parent]
    if not parents:
        is_gtf = 'transcript_id "' in attributes
        remedy = "this is GTF, convert it to GFF3" if is_gtf else "add the ID of its transcript"
        raise FormatError(path, f"exon without a Parent attribute: {remedy}", line=line)
    return parents


def _no_exons(num_rows: Counter[str]) -> str:
    if not num_rows:
        return "no feature row in it: give a GFF3 annotation of the genome"
    seen = ", ".join(f"{num:,} {kind}" for kind, num in num_rows.most_common(4))
    if num_rows["intron"] or num_rows["CDS"]:
        introns = f"{num_rows['intron']:,} intron and {num_rows['CDS']:,} CDS rows, but no exon rows"
        return f"{introns}: write the exons out, for instance with AGAT's agat_convert_sp_gxf2gxf.pl"
    return f"no exon rows (there are {seen}): give an annotation whose transcripts have exons"


def _transcripts(exons_of: dict[str, _Exons], gene_of: dict[str, str], path: Path) -> list[Transcript]:
    transcripts: list[Transcript] = []
    num_merged = 0
    for transcript_id, exons in exons_of.items():
        if exons.is_in_one_place:
            merged = _merged(exons.intervals)
            num_merged += len(merged) < len(exons.intervals)
            gene_id = gene_of.get(transcript_id, transcript_id)
            transcripts.append(Transcript(transcript_id, gene_id, exons.contig, exons.strand, merged))
    if num_merged:
        _log.warning("%s: %d transcripts have exons that overlap or touch; merged", path, num_merged)
    if skipped := [transcript_id for transcript_id, exons in exons_of.items() if not exons.is_in_one_place]:
        message = "%s: left out %d transcripts with exons on two strands or contigs: %s"
        _log.warning(message, path, len(skipped), _some(skipped))
    return transcripts


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


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
        _log.warning(message, gff3_path, num_dropped, len(without_sequence), _some(list(without_sequence)))
    return kept


def _no_match(seqids: list[str], contigs: list[str]) -> str:
    problem = f"none of its seqids ({_some(seqids)}) is a contig of the FASTA ({_some(contigs)})"
    if any(f"chr{seqid}" in contigs for seqid in seqids):
        return f"{problem}: put 'chr' before its seqids, as the FASTA has it"
    if any(seqid.startswith("chr") and seqid[3:] in contigs for seqid in seqids):
        return f"{problem}: take 'chr' off its seqids, as the FASTA has none"
    return f"{problem}: give both files of one source, or rename the seqids"


def _some(names: list[str]) -> str:
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
