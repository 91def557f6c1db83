"""Places of splice sites and negatives, and the windows around them; `splice_balance` chooses among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import LABELS
from dnabert_nemo.genome.alphabet import decode, unbroken_stretches
from dnabert_nemo.genome.annotation import GeneBody
from dnabert_nemo.genome.bed import intersect, merged
from dnabert_nemo.genome.fasta import read_fastas
from dnabert_nemo.genome.splice_sites import SpliceSite, window
from dnabert_nemo.shards.records import random_order

# A dinucleotide at [start, start + 2) of a contig's forward strand, read along the strand `is_reverse` tells.
PLACE = np.dtype([("label", "<i8"), ("contig", "<i8"), ("start", "<i8"), ("is_reverse", "?")])

# Starts [begin, end) on one strand of one contig at which a negative may stand.
ROOM = np.dtype([("contig", "<i8"), ("begin", "<i8"), ("end", "<i8"), ("is_reverse", "?")])


@dataclass(frozen=True, eq=False)
class Layout:
    """What the first pass keeps of a contig: where its bases are unbroken, and not the bases."""

    name: str
    length: int
    stretches: NDArray[np.int64]  # [m, 2], see `unbroken_stretches`


def read_layouts(fasta: Iterable[Path]) -> list[Layout]:
    """Read the layout of every contig, one contig in memory at a time.

    Raises:
        FormatError: as `read_fastas`.
    """
    return [
        Layout(contig.name, len(contig.codes), unbroken_stretches(contig.codes))
        for contig in read_fastas(fasta)
    ]


def site_places(sites: Sequence[SpliceSite], layouts: Sequence[Layout]) -> NDArray[np.void]:
    """Return the places of sites, PLACE [n], sorted by contig (in input order), start, strand and label."""
    number_of = {layout.name: number for number, layout in enumerate(layouts)}
    rows = [
        (LABELS.index(site.kind), number_of[site.contig], site.start, site.strand == "-") for site in sites
    ]
    places = np.array(rows, dtype=PLACE)
    return places[np.lexsort((places["label"], places["is_reverse"], places["start"], places["contig"]))]


def fit(
    places: NDArray[np.void], layouts: Sequence[Layout], width: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which windows of `width` bases stay on the contig, and which are also all ACGT: bool [n] each"""
    stays = np.zeros(len(places), dtype=bool)
    is_unbroken = np.zeros(len(places), dtype=bool)
    for number in np.unique(places["contig"]):
        layout, members = layouts[number], np.flatnonzero(places["contig"] == number)
        left = places["start"][members] + 1 - width // 2
        stays[members] = (left >= 0) & (left + width <= layout.length)
        # with a stretch of no bases in front, every place has a last stretch that begins at or before it
        begins = np.concatenate([[np.iinfo(np.int64).min], layout.stretches[:, 0]])
        ends = np.concatenate([[np.iinfo(np.int64).min], layout.stretches[:, 1]])
        is_unbroken[members] = left + width <= ends[np.searchsorted(begins, left, side="right") - 1]
    return stays, is_unbroken


def negative_rooms(bodies: Iterable[GeneBody], layouts: Sequence[Layout], width: int) -> NDArray[np.void]:
    """Return the starts in gene bodies whose windows are whole and all ACGT: ROOM [m], disjoint on a strand.

    A base in several genes of one strand counts once.
    """
    number_of = {layout.name: number for number, layout in enumerate(layouts)}
    spans = sorted((number_of[body.contig], body.strand, body.start, body.end - 1) for body in bodies)
    rooms = []
    for (number, strand), group in groupby(spans, key=lambda span: span[:2]):
        starts = layouts[number].stretches + np.array([width // 2 - 1, -(width // 2)])
        genes = merged(np.array([span[2:] for span in group]))
        found = intersect(genes, starts[starts[:, 0] < starts[:, 1]])
        room = np.empty(len(found), dtype=ROOM)
        room["contig"], room["is_reverse"] = number, strand == "-"
        room["begin"], room["end"] = found.T
        rooms.append(room)
    return np.concatenate(rooms)


def draw_negatives(
    rooms: NDArray[np.void], sites: NDArray[np.void], count: int, seed: int, stream: int
) -> NDArray[np.void]:
    """Draw up to `count` distinct places uniformly over `rooms`: PLACE in random order, by (seed, stream).

    A place where an annotated site stands, of either kind and on either strand, is left out: the window
    across from a site on the other strand is that site's reverse complement, and no clean negative.
    """
    ends = np.cumsum(rooms["end"] - rooms["begin"])
    total = int(ends[-1]) if len(ends) else 0
    drawn = _distinct(total, min(total, count + len(sites)), seed, stream)
    room = np.searchsorted(ends, drawn, side="right")
    places = np.empty(len(drawn), dtype=PLACE)
    places["label"] = LABELS.index("negative")
    places["contig"], places["is_reverse"] = rooms["contig"][room], rooms["is_reverse"][room]
    places["start"] = rooms["end"][room] - (ends[room] - drawn)
    return places[~np.isin(_position(places), _position(sites))][:count]


def read_window(codes: NDArray[np.uint8], start: int, is_reverse: bool, width: int) -> str:
    """Return the window around the dinucleotide at a start of a contig, which is whole, along a strand."""
    found = window(codes, start, "-" if is_reverse else "+", width)
    assert found is not None, f"the window at {start} was said to fit"
    return decode(found)


def _position(places: NDArray[np.void]) -> NDArray[np.int64]:
    # one number a place; contigs are shorter than 2^40
    position: NDArray[np.int64] = (places["contig"] << 40) | places["start"]
    return position


def _distinct(total: int, count: int, seed: int, stream: int) -> NDArray[np.int64]:
    """Draw `count` distinct numbers of 0 .. total - 1 in random order: int64 [count]."""
    if 2 * count >= total:
        everything: NDArray[np.int64] = random_order(total, seed, stream)
        return everything[:count]
    # 2 x count draws hold more than 1.2 x count distinct numbers as count is under half of total
    raw = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(2 * count + 64)
    drawn = (raw % np.uint64(total)).astype(np.int64)
    _, first = np.unique(drawn, return_index=True)
    distinct: NDArray[np.int64] = drawn[np.sort(first)[:count]]
    return distinct
