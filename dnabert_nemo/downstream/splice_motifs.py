"""The bases at the ends of introns, by which GT-AG introns are told from GC-AG and AT-AC ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_balance import ACCEPTOR, DONOR
from dnabert_nemo.downstream.splice_windows import Layout
from dnabert_nemo.genome.alphabet import NOT_A_BASE, decode
from dnabert_nemo.genome.annotation import Transcript
from dnabert_nemo.genome.splice_sites import introns

CANONICAL = "GT-AG"

# An intron [start, end) on the forward strand.
INTRON = np.dtype([("contig", "<i8"), ("start", "<i8"), ("end", "<i8"), ("is_reverse", "?")])

_CODES = range(NOT_A_BASE + 1)
_NAMES = [decode(np.array([first, second], dtype=np.uint8)) for first in _CODES for second in _CODES]


def introns_of(transcripts: Iterable[Transcript], layouts: Sequence[Layout]) -> NDArray[np.void]:
    """Return the introns of all isoforms, INTRON [n], with those that isoforms share as often as they do."""
    number_of = {layout.name: number for number, layout in enumerate(layouts)}
    rows = [
        (number_of[transcript.contig], start, end, transcript.strand == "-")
        for transcript in transcripts
        for start, end in introns(transcript)
    ]
    return np.array(rows, dtype=INTRON)


def bases_at(codes: NDArray[np.uint8], starts: NDArray[np.int64], is_reverse: NDArray[np.bool_]) -> list[str]:
    """Return the two bases at each of n starts, read along its strand."""
    left, right = (codes[starts + at].astype(np.int64) for at in (0, 1))
    other_left, other_right = (np.where(each == NOT_A_BASE, each, each ^ 1) for each in (left, right))
    first = np.where(is_reverse, other_right, left)
    second = np.where(is_reverse, other_left, right)
    return [_NAMES[at] for at in (len(_CODES) * first + second).tolist()]


def site_motifs(codes: NDArray[np.uint8], sites: NDArray[np.void], found: NDArray[np.void]) -> list[str]:
    """Return, for each of n sites of a contig, the ends of its intron: GT-AG, or else the first in order.

    Args:
        codes: the contig's bases.
        sites: PLACE [n], each the end of one of the introns at least.
        found: INTRON [m], the contig's.
    """
    found = np.unique(found)
    is_reverse, left, right = found["is_reverse"], found["start"], found["end"] - 2
    donors, acceptors = np.where(is_reverse, right, left), np.where(is_reverse, left, right)
    pairs = zip(bases_at(codes, donors, is_reverse), bases_at(codes, acceptors, is_reverse), strict=True)
    motif_of: dict[tuple[int, int, bool], str] = {}
    for donor, acceptor, along, (first, last) in zip(
        donors.tolist(), acceptors.tolist(), is_reverse.tolist(), pairs, strict=True
    ):
        motif = f"{first}-{last}"
        for site in ((DONOR, donor, along), (ACCEPTOR, acceptor, along)):
            if motif == CANONICAL or site not in motif_of:
                motif_of[site] = motif
    return [motif_of[label, start, along] for label, _, start, along in sites.tolist()]
