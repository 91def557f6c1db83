"""Splits that are drawn, and what comes twice: properties, and small sets by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.downstream.task_split import count_duplicates, draw_splits, strand_key, to_remove

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
TRAIN, VALIDATION, TEST = range(3)


def test_both_strands_have_one_key() -> None:
    assert strand_key("AACG") == strand_key("CGTT") == "AACG"
    assert strand_key("AACG") != strand_key("GCAA")


@given(
    st.lists(st.tuples(st.text("ACGT", min_size=1, max_size=4), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(0, 9),
)
def test_what_is_alike_stays_together(examples: list[tuple[str, int]], seed: int) -> None:
    keys = [strand_key(sequence) for sequence, _ in examples]
    drawn = draw_splits(keys, np.array([label for _, label in examples]), FRACTIONS, seed)
    assert set(drawn.tolist()) <= {TRAIN, VALIDATION, TEST}
    split_of: dict[str, int] = {}
    for key, split in zip(keys, drawn.tolist(), strict=True):
        assert split_of.setdefault(key, split) == split
    assert np.array_equal(drawn, draw_splits(keys, np.array([at for _, at in examples]), FRACTIONS, seed))


@pytest.mark.parametrize(
    ("fractions", "shares"),
    [
        (FRACTIONS, [800, 100, 100]),
        ({"train": 0.6, "validation": 0.2}, [750, 250, 0]),
        ({"train": 0.8, "test": 0.2}, [800, 0, 200]),
    ],
)
def test_each_class_is_shared_by_the_fractions(fractions: dict[str, float], shares: list[int]) -> None:
    labels = np.repeat([0, 1], [1000, 2000])
    drawn = draw_splits([str(at) for at in range(3000)], labels, fractions, seed=1)
    assert np.bincount(drawn[labels == 0], minlength=3).tolist() == shares
    assert np.bincount(drawn[labels == 1], minlength=3).tolist() == [2 * share for share in shares]
    other = draw_splits([str(at) for at in range(3000)], labels, fractions, seed=2)
    assert not np.array_equal(drawn, other)


ROWS = [  # sequence, label, split
    ("AAAA", 0, TRAIN),
    ("AAAA", 0, TRAIN),  # twice in one split
    ("TTTT", 0, TEST),  # the other strand of one in training
    ("ACCA", 1, TRAIN),
    ("ACCA", 1, TEST),  # the same
    ("CACA", 0, VALIDATION),
    ("CACA", 1, TRAIN),  # with another label
    ("GGGA", 1, VALIDATION),
    ("TCCC", 1, VALIDATION),  # the other strand, in one split
]


def columns() -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    sequences = [row[0] for row in ROWS]
    return (
        sequences,
        list(map(strand_key, sequences)),
        *(np.array([row[at] for row in ROWS]) for at in (1, 2)),
    )


def test_duplicates_are_counted() -> None:
    assert count_duplicates(*columns()) == {
        "within": {"train": 1, "validation": 0, "test": 0},
        "across": {"train and validation": 1, "train and test": 1, "validation and test": 0},
        "across_other_strand": {"train and validation": 0, "train and test": 1, "validation and test": 0},
        "several_labels": 1,
    }


def test_duplicates_are_removed_from_training_first() -> None:
    goes = to_remove(*columns())
    assert np.flatnonzero(goes["several_labels"]).tolist() == [5, 6]
    assert np.flatnonzero(goes["repeated"]).tolist() == [0, 1, 3]
