"""Decoys against loops over every place, and leaks against sets of strings."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dnabert_nemo.downstream.splice_balance import NEGATIVE
from dnabert_nemo.downstream.splice_decoys import dinucleotides, draw_decoys
from dnabert_nemo.downstream.splice_leaks import shares_in
from dnabert_nemo.downstream.splice_windows import PLACE, ROOM
from dnabert_nemo.genome.alphabet import decode, encode, reverse_complement

ROOMS = np.array([(0, 50, 900, False), (0, 1000, 1900, False), (0, 60, 1900, True)], dtype=ROOM)


def text_of(length: int, seed: int, letters: str = "ACGT") -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


def pair_at(text: str, start: int, is_reverse: bool) -> str:
    codes = encode(text[start : start + 2])
    return decode(reverse_complement(codes) if is_reverse else codes)


def drawn_sites(text: str, count: int, seed: int) -> np.ndarray:
    chance = random.Random(seed)
    rows = set()
    while len(rows) < count:
        room = chance.choice(ROOMS.tolist())
        start = chance.randrange(room[1], room[2])
        if "N" not in text[start : start + 2]:
            rows.add((chance.randrange(2), 0, start, room[3]))
    return np.array(sorted(rows), dtype=PLACE)


@pytest.mark.parametrize("is_reverse", [False, True])
def test_dinucleotides_are_read_along_the_strand(is_reverse: bool) -> None:
    text = text_of(200, 1, "ACGTN")
    found = dinucleotides(encode(text), is_reverse=is_reverse)
    for start in range(199):
        pair = pair_at(text, start, is_reverse)
        code = 255 if "N" in pair else int(4 * encode(pair)[0] + encode(pair)[1])
        assert found[start] == code
    assert found[199] == 255


@pytest.mark.parametrize("seed", range(5))
def test_a_decoy_has_its_sites_dinucleotide_and_gene_and_keeps_away(seed: int) -> None:
    text = text_of(2000, seed)
    sites = drawn_sites(text, 12, seed)
    annotated = np.append(sites["start"], [300, 1500])
    found = draw_decoys(encode(text), sites, annotated, ROOMS, least_distance=20, seed=seed)
    assert len(found.places) > 6
    assert len(set(found.of_site.tolist())) == len(found.of_site)
    assert len({tuple(place) for place in found.places.tolist()}) == len(found.places)
    for place, of in zip(found.places, found.of_site, strict=True):
        site = sites[of]
        assert (place["label"], place["contig"]) == (NEGATIVE, 0)
        assert place["is_reverse"] == site["is_reverse"]
        pairs = [pair_at(text, each["start"], each["is_reverse"]) for each in (place, site)]
        assert pairs[0] == pairs[1]
        assert any(
            room["is_reverse"] == site["is_reverse"]
            and all(room["begin"] <= each["start"] < room["end"] for each in (place, site))
            for room in ROOMS
        )
        assert np.abs(annotated - place["start"]).min() >= 20


def test_every_site_has_its_decoy_where_there_are_enough_and_the_others_go_without() -> None:
    text = "A" * 100 + "GT" * 30 + "A" * 100 + "GT" + "A" * 1800
    sites = np.array([(0, 0, 260, False), (1, 0, 61, False)], dtype=PLACE)  # GT, and AA
    found = draw_decoys(encode(text), sites, sites["start"], ROOMS[:1], least_distance=50, seed=1)
    assert sorted(found.of_site.tolist()) == [0, 1]
    near = np.arange(100, 160, 2)
    alone = draw_decoys(encode(text), sites[:1], near, ROOMS[:1], least_distance=50, seed=1)
    assert alone.of_site.tolist() == [0]  # only its own place, far from all others, is left
    assert alone.places["start"].tolist() == [260]
    none = draw_decoys(encode(text), sites[:1], np.append(near, 260), ROOMS[:1], least_distance=50, seed=1)
    assert len(none.places) == len(none.of_site) == 0


def test_the_same_seed_draws_the_same_whatever_other_genes_there_are() -> None:
    text = text_of(2000, 9)
    sites = drawn_sites(text, 12, 9)
    codes, annotated = encode(text), sites["start"]
    one, again, other = (
        draw_decoys(codes, sites, annotated, ROOMS, least_distance=20, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.places, again.places)
    assert not np.array_equal(one.places, other.places)
    second = sites[(sites["start"] >= 1000) & ~sites["is_reverse"]]
    alone = draw_decoys(codes, second, annotated, ROOMS[1:2], least_distance=20, seed=1)
    inside = (one.places["start"] >= 1000) & ~one.places["is_reverse"]
    assert {*alone.places["start"].tolist()} == {*one.places["start"][inside].tolist()}


def test_a_site_outside_of_genes_is_a_mistake_of_the_caller() -> None:
    sites = np.array([(0, 0, 950, False)], dtype=PLACE)
    with pytest.raises(ValueError, match="1 sites are in no room"):
        draw_decoys(encode("ACGT" * 500), sites, sites["start"], ROOMS, least_distance=5, seed=1)


def kmers(text: str, k: int) -> set[str]:
    both = (text, decode(reverse_complement(encode(text))))
    found = [{each[i : i + k] for i in range(len(text) - k + 1)} for each in both]
    return found[0] | found[1]


@pytest.mark.parametrize("k", [5, 31])
def test_shares_are_those_of_sets_of_strings(k: int) -> None:
    train = [text_of(120, seed) for seed in range(4)]
    half = train[0][:60] + text_of(60, 77)
    turned = decode(reverse_complement(encode(train[1])))
    windows = [train[2], turned, half, text_of(120, 99), "ACGT"]
    known = set().union(*(kmers(text, k) for text in train))
    expected = []
    for window in windows:
        own = {min(each, decode(reverse_complement(encode(each)))) for each in kmers(window, k)}
        expected.append(np.mean([each in known for each in own]) if own else 0.0)
    assert shares_in(windows, train, k).tolist() == pytest.approx(expected)
    assert shares_in(windows, train, k)[:2].tolist() == [1.0, 1.0]
    assert shares_in(windows, [], k).tolist() == [0.0] * 5
