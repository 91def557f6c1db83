"""Decoys: places that look like a site, in the same gene and on the same strand, and are none.

For each site one with its very dinucleotide, so that the two middle bases, by which sites are told from
random places, tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_balance import NEGATIVE
from dnabert_nemo.downstream.splice_windows import PLACE
from dnabert_nemo.genome.alphabet import NOT_A_BASE
from dnabert_nemo.shards.records import random_order

NO_PAIR = 255
_STREAM = 1 << 32  # of random numbers, and as many after it as there are groups


@dataclass(frozen=True)
class Decoys:
    """Decoys of the sites of one contig.

    Args:
        places: PLACE [n], labelled negative.
        of_site: int64 [n], the index of each one's site, each at most once.
    """

    places: NDArray[np.void]
    of_site: NDArray[np.int64]


def dinucleotides(codes: NDArray[np.uint8], *, is_reverse: bool) -> NDArray[np.uint8]:
    """Return 4 x first + second base of the pair at each start of n bases, read along the strand: uint8 [n].

    NO_PAIR where one is no base, and at the last.
    """
    pairs = np.full(len(codes), NO_PAIR, dtype=np.uint8)
    left, right = codes[:-1], codes[1:]
    first, second = (right ^ 1, left ^ 1) if is_reverse else (left, right)
    is_pair = (left != NOT_A_BASE) & (right != NOT_A_BASE)
    pairs[:-1][is_pair] = (4 * first + second)[is_pair]
    return pairs


def draw_decoys(
    codes: NDArray[np.uint8],
    sites: NDArray[np.void],
    annotated: NDArray[np.int64],
    rooms: NDArray[np.void],
    *,
    least_distance: int,
    seed: int,
) -> Decoys:
    """Draw a decoy for each site of a contig, as long as its gene has any left.

    Args:
        codes: the contig's bases.
        sites: PLACE [m], on this contig, each within one of `rooms`.
        annotated: the starts of all sites of the contig, on either strand: decoys keep away from these.
        rooms: ROOM [r] of this contig; those of a strand are disjoint and rising.
        least_distance: bases between the starts of a decoy and of any annotated site.

    Raises:
        ValueError: a site is in no room.
    """
    is_free = np.ones(len(codes), dtype=bool)
    for start in np.unique(annotated).tolist():
        is_free[max(0, start - least_distance + 1) : start + least_distance] = False
    places: list[NDArray[np.void]] = []
    of_site: list[NDArray[np.int64]] = []
    for is_reverse in (False, True):
        pairs = dinucleotides(codes, is_reverse=is_reverse)
        members = np.flatnonzero(sites["is_reverse"] == is_reverse)
        room_of = _room_of(sites["start"][members], rooms[rooms["is_reverse"] == is_reverse])
        own = rooms[rooms["is_reverse"] == is_reverse]
        groups = room_of * (NO_PAIR + 1) + pairs[sites["start"][members]]
        for group in np.unique(groups).tolist():
            room, pair = own[group // (NO_PAIR + 1)], group % (NO_PAIR + 1)
            inside = slice(int(room["begin"]), int(room["end"]))
            found = inside.start + np.flatnonzero(is_free[inside] & (pairs[inside] == pair))
            wanted = members[groups == group]
            # a stream of its own for each group: what is drawn here is not changed by other genes
            stream = _STREAM + 2 * (int(room["begin"]) * (NO_PAIR + 1) + pair) + is_reverse
            drawn = found[random_order(len(found), seed, stream)[: len(wanted)]]
            place = np.zeros(len(drawn), dtype=PLACE)
            place["label"], place["contig"] = NEGATIVE, room["contig"]
            place["start"], place["is_reverse"] = drawn, is_reverse
            places.append(place)
            of_site.append(wanted[: len(drawn)])
    return Decoys(
        np.concatenate([*places, np.empty(0, dtype=PLACE)]),
        np.concatenate([*of_site, np.empty(0, dtype=np.int64)]),
    )


def _room_of(starts: NDArray[np.int64], rooms: NDArray[np.void]) -> NDArray[np.int64]:
    found = np.searchsorted(rooms["begin"], starts, side="right") - 1
    is_inside = (found >= 0) & (starts < rooms["end"][found]) if len(rooms) else np.zeros(len(starts), bool)
    if not is_inside.all():
        raise ValueError(f"{int((~is_inside).sum())} sites are in no room")
    return found
