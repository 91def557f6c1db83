"""Each sequence once, and labels balanced in every split."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.downstream.splice_balance import choose_balanced, distinct_windows, share_out
from dnabert_nemo.downstream.splice_windows import PLACE

SPLIT_OF = np.array([0, 1, 2])  # contig 0 in train, 1 in validation, 2 in test


def places_of(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array([(label, contig, at, False) for at, (label, contig) in enumerate(rows)], dtype=PLACE)


def test_of_equal_sequences_the_first_stays_and_contradictions_go() -> None:
    rows = [
        (0, 0, "donor"), (0, 0, "donor"), (0, 1, "donor"),  # the same site thrice, once in another split
        (0, 0, "either"), (1, 2, "either"), (2, 0, "either"),  # both donor and acceptor
        (1, 1, "acceptor"), (2, 1, "acceptor"),  # a negative that looks like a site
        (2, 2, "negative"), (2, 0, "negative"),
    ]  # fmt: skip
    places = places_of([row[:2] for row in rows])
    is_kept, dropped = distinct_windows(places, [row[2] for row in rows], SPLIT_OF)
    assert np.flatnonzero(is_kept).tolist() == [0, 6, 8]
    assert dropped == {
        "both_donor_and_acceptor": {0: 1, 1: 1, 2: 1},
        "duplicate_in_split": {0: 1, 2: 1},
        "duplicate_across_splits": {0: 1, 2: 1},
    }


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=80)


@settings(max_examples=80, deadline=None)
@given(rows, st.integers(1, 40))
def test_every_split_has_equal_numbers_of_each_label(
    drawn: list[tuple[int, int, bool]], per_class: int
) -> None:
    places = places_of([row[:2] for row in drawn])
    is_kept = np.array([row[2] for row in drawn])
    chosen = choose_balanced(places, is_kept, SPLIT_OF, per_class, seed=1, stream=0)
    assert is_kept[chosen].all()
    assert len(set(chosen.tolist())) == len(chosen)
    counts = Counter(zip(places["contig"][chosen].tolist(), places["label"][chosen].tolist(), strict=True))
    kept = Counter((contig, label) for label, contig, is_in in drawn if is_in)
    available = [min(kept[split, label] for label in range(3)) for split in range(3)]
    quotas = [counts[split, 0] for split in range(3)]
    assert all(counts[split, label] == quotas[split] for split in range(3) for label in range(3))
    assert sum(quotas) == min(per_class, sum(available))
    assert all(quota <= most for quota, most in zip(quotas, available, strict=True))
    order = [tuple(place)[1:] + tuple(place)[:1] for place in places[chosen].tolist()]
    assert order == sorted(order)


def test_sites_are_drawn_by_the_seed_and_negatives_taken_in_their_order() -> None:
    places = places_of([(label, 0) for label in range(3) for _ in range(50)])
    everything = np.ones(150, dtype=bool)
    one = choose_balanced(places, everything, SPLIT_OF, 10, seed=1, stream=0).tolist()
    other = choose_balanced(places, everything, SPLIT_OF, 10, seed=2, stream=0).tolist()
    assert one != other
    assert one == choose_balanced(places, everything, SPLIT_OF, 10, seed=1, stream=0).tolist()
    assert one[20:] == other[20:] == list(range(100, 110))
    assert one[:10] != list(range(10))
    assert [i - 50 for i in one[10:20]] != one[:10]  # donors and acceptors are drawn apart


def test_share_out_keeps_proportions_and_the_sum() -> None:
    assert share_out(100, np.array([60, 30, 10])) == [60, 30, 10]
    assert share_out(200, np.array([60, 30, 10])) == [60, 30, 10]
    assert share_out(10, np.array([60, 30, 10])) == [6, 3, 1]
    assert share_out(10, np.array([1, 1, 1])) == [1, 1, 1]
    assert share_out(2, np.array([50, 40, 10])) == [1, 1, 0]
    assert share_out(4, np.array([0, 0, 0])) == [0, 0, 0]
