"""Each sequence once, and labels balanced in every split of every genome."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.downstream.splice_balance import ALONE, choose_balanced, distinct_windows, share_out
from dnabert_nemo.downstream.splice_windows import PLACE

SPLIT_OF = np.array([0, 1, 2, 0, 1])  # contig 0 in train, 1 in validation, 2 in test
GENOME_OF = np.array([0, 0, 0, 1, 1])  # two in the first two splits


def places_of(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array([(label, contig, at, False) for at, (label, contig) in enumerate(rows)], dtype=PLACE)


def chosen_of(
    places: np.ndarray, is_kept: np.ndarray, per_class: int, *, seed: int, partner: np.ndarray | None = None
) -> np.ndarray:
    splits = SPLIT_OF[places["contig"]]
    partner = np.full(len(places), ALONE) if partner is None else partner
    genomes = GENOME_OF[places["contig"]]
    labels = places["label"]
    return choose_balanced(labels, splits, genomes, is_kept, partner, per_class, seed=seed, stream=0)


def test_of_equal_sequences_the_first_stays_and_contradictions_go() -> None:
    rows = [
        (0, 0, "donor"), (0, 0, "donor"), (0, 1, "donor"),  # the same site thrice, once in another split
        (0, 0, "either"), (1, 2, "either"), (2, 0, "either"),  # both donor and acceptor
        (1, 1, "acceptor"), (2, 1, "acceptor"),  # a negative that looks like a site
        (2, 2, "negative"), (2, 0, "negative"),
    ]  # fmt: skip
    places = places_of([row[:2] for row in rows])
    is_kept, dropped = distinct_windows(places["label"], SPLIT_OF[places["contig"]], [row[2] for row in rows])
    assert np.flatnonzero(is_kept).tolist() == [0, 6, 8]
    assert dropped == {
        "both_donor_and_acceptor": {0: 1, 1: 1, 2: 1},
        "duplicate_in_split": {0: 1, 2: 1},
        "duplicate_across_splits": {0: 1, 2: 1},
    }


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans()), min_size=1, max_size=80)


@settings(max_examples=80, deadline=None)
@given(rows, st.integers(1, 40))
def test_every_split_of_every_genome_has_equal_numbers_of_each_label(
    drawn: list[tuple[int, int, bool]], per_class: int
) -> None:
    places = places_of([row[:2] for row in drawn])
    is_kept = np.array([row[2] for row in drawn])
    chosen = chosen_of(places, is_kept, per_class, seed=1)
    assert is_kept[chosen].all()
    assert len(set(chosen.tolist())) == len(chosen)
    counts = Counter(zip(places["contig"][chosen].tolist(), places["label"][chosen].tolist(), strict=True))
    kept = Counter((contig, label) for label, contig, is_in in drawn if is_in)
    available = [min(kept[contig, label] for label in range(3)) for contig in range(5)]
    quotas = [counts[contig, 0] for contig in range(5)]
    assert all(counts[contig, label] == quotas[contig] for contig in range(5) for label in range(3))
    assert sum(quotas) == min(per_class, sum(available))
    assert all(quota <= most for quota, most in zip(quotas, available, strict=True))
    assert chosen.tolist() == sorted(chosen.tolist())


def test_windows_are_drawn_by_the_seed() -> None:
    places = places_of([(label, 0) for label in range(3) for _ in range(50)])
    everything = np.ones(150, dtype=bool)
    one = chosen_of(places, everything, 10, seed=1).tolist()
    other = chosen_of(places, everything, 10, seed=2).tolist()
    assert one != other
    assert one == chosen_of(places, everything, 10, seed=1).tolist()
    assert one[:10] != list(range(10))
    # the classes are drawn apart
    assert one[:10] != [i - 50 for i in one[10:20]] != [i - 100 for i in one[20:]]


def test_a_chosen_site_brings_its_decoy_and_one_without_is_not_chosen() -> None:
    """Donors 0 to 4, acceptors 5 to 9; their decoys 10 to 19, of which that of donor 1 goes; 9 has none."""
    places = places_of([(label, 0) for label in (0, 1, 2, 2) for _ in range(5)])
    partner = np.concatenate([np.arange(10) + 10, np.arange(10)])
    partner[[9, 19]] = ALONE
    is_kept = np.ones(20, dtype=bool)
    is_kept[11] = False
    chosen = chosen_of(places, is_kept, 100, seed=1, partner=partner).tolist()
    sites, decoys = chosen[:8], chosen[8:]
    assert len(chosen) == 16
    assert (sites[:4], sites[4:]) == ([0, 2, 3, 4], [5, 6, 7, 8])
    assert decoys == [10 + site for site in sites]
    few = chosen_of(places, is_kept, 2, seed=1, partner=partner).tolist()
    assert [partner[site] for site in few[:4]] == few[4:]


def test_share_out_keeps_proportions_and_the_sum() -> None:
    assert share_out(100, np.array([60, 30, 10])) == [60, 30, 10]
    assert share_out(200, np.array([60, 30, 10])) == [60, 30, 10]
    assert share_out(10, np.array([60, 30, 10])) == [6, 3, 1]
    assert share_out(10, np.array([1, 1, 1])) == [1, 1, 1]
    assert share_out(2, np.array([50, 40, 10])) == [1, 1, 0]
    assert share_out(4, np.array([0, 0, 0])) == [0, 0, 0]
