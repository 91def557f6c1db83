"""Decoys: places that look like a site, in the same gene and on the same strand, and are none.

For each site one with its very dinucleotide, so that the two middle bases, by which sites are told from
random places, tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

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
    annotated = np.unique(annotated)
    places: list[NDArray[np.void]] = []
    of_site: list[NDArray[np.int64]] = []
    for is_reverse in (False, True):
        own = rooms[rooms["is_reverse"] == is_reverse]
        members = np.flatnonzero(sites["is_reverse"] == is_reverse)
        room_of = _room_of(sites["start"][members], own)
        for number, in_room in _grouped(members, room_of):
            begin, end = int(own["begin"][number]), int(own["end"][number])
            pairs = dinucleotides(codes[begin : end + 1], is_reverse=is_reverse)[: end - begin]
            is_free = _is_far(begin, end, annotated, least_distance)
            for pair, wanted in _grouped(in_room, pairs[sites["start"][in_room] - begin]):
                found = begin + np.flatnonzero(is_free & (pairs == pair))
                # a stream of its own for each: what is drawn here is not changed by other genes
                stream = _STREAM + 2 * (begin * (NO_PAIR + 1) + pair) + is_reverse
                drawn = found[random_order(len(found), seed, stream)[: len(wanted)]]
                place = np.zeros(len(drawn), dtype=PLACE)
                place["label"], place["contig"] = NEGATIVE, own["contig"][number]
                place["start"], place["is_reverse"] = drawn, is_reverse
                places.append(place)
                of_site.append(wanted[: len(drawn)])
    return Decoys(
        np.concatenate([*places, np.empty(0, dtype=PLACE)]),
        np.concatenate([*of_site, np.empty(0, dtype=np.int64)]),
    )


def _grouped(
    members: NDArray[np.int64], keys: NDArray[np.integer]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each key, rising, and the members that have it, in their order."""
    order = np.argsort(keys, kind="stable")
    found, firsts = np.unique(keys[order], return_index=True)
    for key, (first, after) in zip(found.tolist(), pairwise([*firsts.tolist(), len(keys)]), strict=True):
        yield key, members[order[first:after]]


def _is_far(begin: int, end: int, annotated: NDArray[np.int64], distance: int) -> NDArray[np.bool_]:
    """Tell which places of a room no annotated site is near: bool [end - begin]; `annotated` are rising."""
    is_far = np.ones(end - begin, dtype=bool)
    first, after = np.searchsorted(annotated, [begin - distance, end + distance])
    for start in (annotated[first:after] - begin).tolist():
        is_far[max(0, start - distance + 1) : max(0, start + distance)] = False
    return is_far


def _room_of(starts: NDArray[np.int64], rooms: NDArray[np.void]) -> NDArray[np.int64]:
    found = np.searchsorted(rooms["begin"], starts, side="right") - 1
    is_inside = (found >= 0) & (starts < rooms["end"][found]) if len(rooms) else np.zeros(len(starts), bool)
    if not is_inside.all():
        raise ValueError(f"{int((~is_inside).sum())} sites are in no room")
    return found
