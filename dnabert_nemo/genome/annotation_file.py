"""GFF3 and GTF files to transcripts: by exons, or by introns and coding parts where there are no exons."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.annotation import Interval, Strand, Transcript, some
from dnabert_nemo.genome.annotation_rows import FeatureRow, feature_rows

# What exons are made of, in lower case; GTF counts a stop codon to neither CDS nor UTR.
_PARTS = frozenset(("cds", "utr", "5utr", "3utr", "five_prime_utr", "three_prime_utr", "stop_codon"))

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pieces:
    """Exons, introns or parts of one transcript."""

    contig: str
    strand: Strand
    intervals: list[Interval]
    is_in_one_place: bool = True


def read_annotation(path: str | Path) -> list[Transcript]:
    """Read the transcripts of a GFF3 or GTF file, plain or packed, in the order of their first exon.

    Where the file has `exon` rows they alone count. In GFF3 an exon belongs to every transcript in its
    Parent, and a transcript to the gene in its own Parent, or to itself where it has none; in GTF
    `transcript_id` and `gene_id` tell. In a file without exon rows, the exons of a transcript that has
    `intron` rows are what these leave of its own row, and those of another its coding and untranslated parts;
    one that has neither is left out.

    As gffread does, exons of one transcript that overlap or touch are merged. A transcript with exons on two
    strands or contigs (trans-splicing) has no introns of the usual kind and is left out. Both are logged.

    Raises:
        FormatError: with the line, if a row lacks columns or an exon has bad coordinates, a bad strand or no
            transcript; if no row tells of exons; if the file is missing or damaged.
    """
    path = Path(path)
    exons: dict[str, _Pieces] = {}
    gene_of: dict[str, str] = {}
    num_rows: Counter[str] = Counter()
    others: list[FeatureRow] = []  # of interest only until an exon is met
    for row in feature_rows(path):
        num_rows[row.kind] += 1
        if row.kind == "exon":
            others = []
            _add(row, row.transcripts(), exons, gene_of)
            continue
        if (own := row.own_id) and (above := row.above_id):
            gene_of[own] = above
        if not exons:
            others.append(row)
    if exons:
        _tell_merged(exons, path)
        return _transcripts(exons, gene_of, path)
    exons = _exons_of_others(others, gene_of, path)
    if not exons:
        raise FormatError(path, _no_exons(num_rows))
    _log.info("%s: no exon rows: exons are what introns leave, or coding and untranslated parts", path)
    return _transcripts(exons, gene_of, path)


def _add(row: FeatureRow, names: Iterable[str], to: dict[str, _Pieces], gene_of: dict[str, str]) -> None:
    contig, strand, interval = row.placed()
    for name in names:
        pieces = to.setdefault(name, _Pieces(contig, strand, []))
        pieces.is_in_one_place &= (pieces.contig, pieces.strand) == (contig, strand)
        pieces.intervals.append(interval)
        if row.is_gtf:
            gene_of[name] = row.above_id or name


def _exons_of_others(rows: Iterable[FeatureRow], gene_of: dict[str, str], path: Path) -> dict[str, _Pieces]:
    """Find the exons of each transcript in the rows of a file that has none."""
    introns: dict[str, _Pieces] = {}
    parts: dict[str, _Pieces] = {}
    whole: dict[str, FeatureRow] = {}
    for row in rows:
        if row.kind == "intron":
            if row.is_in_something:  # or else it is evidence, of reads
                _add(row, row.transcripts(), introns, gene_of)
        elif row.kind.lower() in _PARTS:
            # one may stand for itself, as gene finders for genomes without introns have it
            _add(row, row.transcripts() if row.is_in_something else [row.own_id], parts, gene_of)
        elif own := row.own_id:
            whole[own] = row
    for name, pieces in introns.items():
        if name in whole:
            span = [whole[name].placed()[2]]
        elif name in parts:
            span = parts[name].intervals
        else:
            problem = f"introns of transcript {name!r}, of which it has no other row: add its mRNA row"
            raise FormatError(path, problem)
        parts[name] = _Pieces(
            pieces.contig,
            pieces.strand,
            _between(pieces.intervals, span, name, path),
            pieces.is_in_one_place,
        )
    return parts


def _between(introns: list[Interval], span: list[Interval], name: str, path: Path) -> list[Interval]:
    """Return what is left of a transcript between its introns."""
    at, end = min(span)[0], max(after for _, after in span)
    exons: list[Interval] = []
    for first, after in merged(introns):
        exons.append((at, first))
        at = after
    exons.append((at, end))
    if any(first >= after for first, after in exons):
        raise FormatError(path, f"transcript {name!r} has an intron that is not inside of it: mend its rows")
    return exons


def _no_exons(num_rows: Counter[str]) -> str:
    if not num_rows:
        return "no feature row in it: give a GFF3 or GTF annotation of the genome"
    seen = ", ".join(f"{num:,} {kind}" for kind, num in num_rows.most_common(4))
    return f"no exon, intron or CDS rows (there are {seen}): give an annotation whose transcripts have exons"


def _transcripts(exons_of: dict[str, _Pieces], gene_of: dict[str, str], path: Path) -> list[Transcript]:
    transcripts = [
        Transcript(
            transcript_id,
            gene_of.get(transcript_id, transcript_id),
            exons.contig,
            exons.strand,
            merged(exons.intervals),
        )
        for transcript_id, exons in exons_of.items()
        if exons.is_in_one_place
    ]
    if skipped := [transcript_id for transcript_id, exons in exons_of.items() if not exons.is_in_one_place]:
        message = "%s: left out %d transcripts with exons on two strands or contigs: %s"
        _log.warning(message, path, len(skipped), some(skipped))
    return transcripts


def _tell_merged(exons_of: dict[str, _Pieces], path: Path) -> None:
    num_merged = sum(
        len(merged(exons.intervals)) < len(exons.intervals)
        for exons in exons_of.values()
        if exons.is_in_one_place
    )
    if num_merged:
        _log.warning("%s: %d transcripts have exons that overlap or touch; merged", path, num_merged)


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return intervals in order, those that overlap or touch as one."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)
