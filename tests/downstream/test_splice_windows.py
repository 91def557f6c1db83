"""Where sites and negatives may stand: against loops over every place."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.downstream.splice_dataset import LABELS
from dnabert_nemo.downstream.splice_windows import (
    PLACE,
    ROOM,
    Layout,
    draw_negatives,
    fit,
    negative_rooms,
    site_places,
)
from dnabert_nemo.genome.alphabet import encode, unbroken_stretches
from dnabert_nemo.genome.annotation import GeneBody
from dnabert_nemo.genome.splice_sites import SpliceSite, window

NEGATIVE = LABELS.index("negative")

sequences = st.lists(st.sampled_from(["ACGTTGCA", "GATTACA", "N", "NN", "C"]), min_size=1, max_size=12).map(
    "".join
)


def layout_of(name: str, sequence: str) -> Layout:
    codes = encode(sequence)
    return Layout(name, len(codes), unbroken_stretches(codes))


def places_of(rows: list[tuple[int, int, int, bool]]) -> np.ndarray:
    return np.array(rows, dtype=PLACE)


@settings(max_examples=80, deadline=None)
@given(sequences, sequences, st.sampled_from([2, 4, 8, 12]))
def test_fit_is_what_the_window_itself_shows(one: str, other: str, width: int) -> None:
    texts = [one, other]
    places = places_of(
        [(0, contig, at, False) for contig in (0, 1) for at in range(-3, len(texts[contig]) + 3)]
    )
    stays, is_unbroken = fit(places, [layout_of("x", one), layout_of("y", other)], width)
    for row, stayed, whole in zip(places, stays, is_unbroken, strict=True):
        left = row["start"] + 1 - width // 2
        text = texts[row["contig"]]
        inside = left >= 0 and left + width <= len(text)
        assert stayed == inside
        assert whole == (inside and "N" not in text[left : left + width])


def test_fit_where_a_contig_holds_no_base_at_all() -> None:
    stays, is_unbroken = fit(places_of([(0, 0, 10, False)]), [layout_of("n", "N" * 40)], 4)
    assert (stays.tolist(), is_unbroken.tolist()) == ([True], [False])


bodies = st.lists(
    st.tuples(st.sampled_from("+-"), st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=5
)


@settings(max_examples=80, deadline=None)
@given(sequences, bodies, st.sampled_from([2, 4, 8]))
def test_rooms_hold_every_usable_place_of_every_gene_once(
    sequence: str, genes: list[tuple[str, int, int]], width: int
) -> None:
    codes = encode(sequence)
    spans = [(strand, at, min(at + length, len(codes))) for strand, at, length in genes if at < len(codes)]
    rooms = (
        negative_rooms(
            [GeneBody(f"g{n}", "x", strand, at, end) for n, (strand, at, end) in enumerate(spans)],
            [layout_of("x", sequence)],
            width,
        )
        if spans
        else np.empty(0, ROOM)
    )
    found = Counter(
        (bool(room["is_reverse"]), p) for room in rooms for p in range(room["begin"], room["end"])
    )
    expected = set()
    for strand, at, end in spans:
        for place in range(at, end - 1):
            around = window(codes, place, strand, width)
            if around is not None and (around < 4).all():
                expected.add((strand == "-", place))
    assert found == Counter(expected)


def test_sites_are_sorted_by_contig_in_input_order() -> None:
    sites = [
        SpliceSite("a", "+", "donor", 9),
        SpliceSite("b", "-", "donor", 7),
        SpliceSite("b", "+", "acceptor", 5),
        SpliceSite("b", "+", "donor", 7),
    ]
    places = site_places(sites, [layout_of("b", "A"), layout_of("a", "A")])
    assert places.tolist() == [(1, 0, 5, False), (0, 0, 7, False), (0, 0, 7, True), (0, 1, 9, False)]


ROOMS = np.array([(0, 10, 40, False), (0, 25, 40, True), (3, 0, 55, False)], dtype=ROOM)


def rooms_of(places: np.ndarray) -> set[tuple[int, int, bool]]:
    return {(contig, start, is_reverse) for _, contig, start, is_reverse in places.tolist()}


def test_negatives_are_distinct_in_their_rooms_and_on_no_site_of_either_strand() -> None:
    sites = places_of([(0, 0, 12, True), (1, 0, 30, False), (0, 3, 50, False)])
    everything = draw_negatives(ROOMS, sites, 1_000, seed=1, stream=0)
    allowed = {
        (int(room["contig"]), place, bool(room["is_reverse"]))
        for room in ROOMS
        for place in range(room["begin"], room["end"])
        if (room["contig"], place) not in {(0, 12), (0, 30), (3, 50)}
    }
    assert len(allowed) == 100 - 4  # 30 is in both strands' rooms
    assert len(everything) == len(allowed)
    assert rooms_of(everything) == allowed
    assert (everything["label"] == NEGATIVE).all()
    some = draw_negatives(ROOMS, sites, 20, seed=1, stream=0)
    assert len(rooms_of(some)) == 20
    assert rooms_of(some) < allowed


def test_negatives_follow_seed_and_stream() -> None:
    none = places_of([])
    drawn = draw_negatives(ROOMS, none, 20, seed=1, stream=0)
    assert np.array_equal(drawn, draw_negatives(ROOMS, none, 20, seed=1, stream=0))
    assert not np.array_equal(drawn, draw_negatives(ROOMS, none, 20, seed=2, stream=0))
    assert not np.array_equal(drawn, draw_negatives(ROOMS, none, 20, seed=1, stream=1))


def test_negatives_are_uniform_over_places_not_over_genes() -> None:
    rooms = np.array([(0, 0, 100, False), (1, 0, 900_000, True), (2, 5, 100_000 - 95, False)], dtype=ROOM)
    counts = Counter(draw_negatives(rooms, places_of([]), 20_000, seed=5, stream=0)["contig"].tolist())
    assert abs(counts[1] - 18_000) < 200
    assert abs(counts[2] - 2_000) < 200
    assert counts[0] < 15


def test_no_room_gives_no_negative() -> None:
    assert len(draw_negatives(ROOMS[:0], places_of([]), 20, seed=1, stream=0)) == 0
