"""Transcripts to introns to unique stranded splice sites, and the windows around them; after `annotation`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import reverse_complement
from dnabert_nemo.genome.annotation import Interval, Strand, Transcript

Kind = Literal["donor", "acceptor"]

MIN_INTRON = 4  # bases that a donor's and an acceptor's dinucleotide take


@dataclass(frozen=True, slots=True)
class SpliceSite:
    """An intron's first or last two bases: [start, start + 2) on the forward strand, whatever `strand` is."""

    contig: str
    strand: Strand
    kind: Kind
    start: int


def introns(transcript: Transcript) -> list[Interval]:
    """Return the gaps between consecutive exons, [start, end) on the forward strand, rising.

    A gap too short for a donor and an acceptor mends a reading frame in the annotation and is no intron.
    """
    gaps = [(left[1], right[0]) for left, right in pairwise(transcript.exons)]
    return [(start, end) for start, end in gaps if end - start >= MIN_INTRON]


def splice_sites(transcripts: Iterable[Transcript]) -> list[SpliceSite]:
    """Return every donor and acceptor once, however many transcripts share it, sorted by contig and start.

    The donor is where transcription enters the intron: on the reverse strand, the intron's right end.
    """
    return sorted(set(_sites(transcripts)), key=_place)


def isoform_sites(transcripts: Iterable[Transcript]) -> list[SpliceSite]:
    """Return them as often as transcripts have them."""
    return sorted(_sites(transcripts), key=_place)


def _sites(transcripts: Iterable[Transcript]) -> Iterator[SpliceSite]:
    for transcript in transcripts:
        left, right = _kinds_by_end(transcript.strand)
        for start, end in introns(transcript):
            yield SpliceSite(transcript.contig, transcript.strand, left, start)
            yield SpliceSite(transcript.contig, transcript.strand, right, end - 2)


def _place(site: SpliceSite) -> tuple[str, int, str, str]:
    return site.contig, site.start, site.strand, site.kind


def _kinds_by_end(strand: Strand) -> tuple[Kind, Kind]:
    return ("donor", "acceptor") if strand == "+" else ("acceptor", "donor")


def window(codes: NDArray[np.uint8], start: int, strand: Strand, width: int) -> NDArray[np.uint8] | None:
    """Return the codes [width] around the dinucleotide [start, start + 2), read along `strand`.

    The dinucleotide stands at indices width / 2 - 1 and width / 2, on either strand; `width` is even.
    `codes` are the whole contig's, and `None` says that the window leaves it.
    """
    assert width % 2 == 0, f"a window of {width} bases has no middle pair"
    left, right = start + 1 - width // 2, start + 1 + width // 2
    if left < 0 or right > len(codes):
        return None
    return codes[left:right] if strand == "+" else reverse_complement(codes[left:right])
