"""Ranking and calibration of windows by hand, and against counting over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.downstream.ranking import (
    RANKINGS,
    calibration_error,
    rank,
    rank_intervals,
    site_scores,
    weighted_ranking,
)

DONOR, ACCEPTOR, NEGATIVE = range(3)
LABELS = np.array([DONOR, DONOR, ACCEPTOR, ACCEPTOR, NEGATIVE, NEGATIVE])
FOUND = np.array([
    [0.9, 0.0, 0.1], [0.3, 0.2, 0.5],  # donors
    [0.8, 0.1, 0.1], [0.0, 0.7, 0.3],  # acceptors, the first taken for a donor
    [0.4, 0.2, 0.4], [0.1, 0.0, 0.9],  # negatives
])  # fmt: skip


def test_a_label_is_ranked_among_its_sites_and_the_negatives() -> None:
    is_site, scores = site_scores(LABELS, FOUND, None, "donor")
    assert is_site.tolist() == [True, True, False, False]
    assert scores.tolist() == [0.9, 0.3, 0.4, 0.1]
    found = rank(LABELS, FOUND)
    assert found["donor"]["auroc"] == pytest.approx(3 / 4)
    assert found["donor"]["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["donor"]["brier"] == pytest.approx((0.01 + 0.49 + 0.16 + 0.01) / 4)
    for name in RANKINGS:
        mean = (found["donor"][name] + found["acceptor"][name]) / 2
        assert found["mean"][name] == pytest.approx(mean)


def test_decoys_are_met_by_the_label_they_stand_against() -> None:
    against = np.array([NEGATIVE] * 4 + [ACCEPTOR, DONOR])
    is_site, scores = site_scores(LABELS, FOUND, against, "donor")
    assert (is_site.tolist(), scores.tolist()) == ([True, True, False], [0.9, 0.3, 0.1])
    assert rank(LABELS, FOUND, against)["donor"]["auroc"] == 1.0
    assert rank(LABELS, FOUND, against)["acceptor"]["auroc"] == 0.5


drawn = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(is_site for is_site, _ in rows) < len(rows)
)


@settings(max_examples=60)
@given(drawn)
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    """Of all pairs of a donor and a negative; ties count half."""
    labels = np.array([DONOR if is_site else NEGATIVE for is_site, _ in rows] + [ACCEPTOR])
    scores = np.array([score / 20 for _, score in rows] + [0.0])
    found = np.stack([scores, np.zeros(len(scores)), 1 - scores], axis=1)
    pairs = [
        (one > other) + (one == other) / 2
        for is_one, one in rows
        if is_one
        for is_other, other in rows
        if not is_other
    ]
    assert rank(labels, found)["donor"]["auroc"] == pytest.approx(np.mean(pairs))


def test_calibration_error_by_hand() -> None:
    """Two bins: .1 and .1 with one site, .9 and 1 with both sites."""
    is_site, scores = np.array([True, False, True, True]), np.array([0.11, 0.09, 0.95, 1.0])
    assert calibration_error(is_site, scores) == pytest.approx((abs(0.2 - 1) + abs(1.95 - 2)) / 4)
    well = np.random.default_rng(1).random(200_000)
    assert calibration_error(np.random.default_rng(2).random(200_000) < well, well) < 0.01


@pytest.mark.parametrize(
    ("labels", "found", "says"),
    [
        (LABELS, FOUND[:5], r"6 labels, probabilities \(5, 3\)"),
        (LABELS[:4], FOUND[:4], "donor: 2 sites among 2 windows rank nothing"),
        (LABELS[2:], FOUND[2:], "donor: 0 sites among 2 windows rank nothing"),
    ],
)
def test_what_ranks_nothing_is_told(labels: np.ndarray, found: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rank(labels, found)


@pytest.mark.parametrize("has_decoys", [False, True])
def test_weights_count_a_window_as_often_as_it_was_drawn(has_decoys: bool) -> None:
    chance = np.random.default_rng(3)
    labels = np.r_[np.arange(3).repeat(3), chance.integers(0, 3, 50)]
    found = np.round(chance.dirichlet(np.ones(3), len(labels)), 2)  # with ties
    decoys = np.where(labels == NEGATIVE, chance.integers(0, 2, len(labels)), NEGATIVE)
    against = decoys if has_decoys else None
    weights = np.array([np.bincount(chance.integers(0, 59, 59), minlength=59) for _ in range(6)])
    for label in ("donor", "acceptor"):
        ours = weighted_ranking(labels, found, against, label, weights)
        for draw, times in zip(ours.T, weights, strict=True):
            drawn = None if against is None else against.repeat(times)
            again = rank(labels.repeat(times), found.repeat(times, 0), drawn)
            assert draw == pytest.approx([again[label][name] for name in RANKINGS])


def test_intervals_hold_the_figure_and_narrow_with_more_windows() -> None:
    chance = np.random.default_rng(4)
    widths = []
    for count in (90, 1440):
        labels = np.arange(count) % 3
        logits = np.eye(3)[labels] + chance.normal(size=(count, 3))
        found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        intervals, figures = rank_intervals(labels, found, seed=1), rank(labels, found)
        for label, of in intervals.items():
            for name in ("auroc", "auprc", "brier"):
                low, high = of[name]
                assert low < figures[label][name] < high
        low, high = intervals["mean"]["auroc"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4), "as the root of the number of windows"
