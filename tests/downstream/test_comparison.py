"""Two rows of a report beside each other: by hand, and against drawing the windows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from dnabert_nemo.downstream.comparison import compare
from dnabert_nemo.downstream.metrics import score

METRICS = ("accuracy", "mcc", "f1")


def rows(count: int, seed: int, *, rightly: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels and two rows of calls, the first right in so many, the second in 70 %; half alike."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 3, count)
    is_alike = chance.random(count) < 0.5
    one, other = (
        np.where(chance.random(count) < share, labels, chance.integers(0, 3, count))
        for share in (rightly, 0.7)
    )
    return labels, one, np.where(is_alike, one, other)


def test_differences_are_those_of_the_rows_scores() -> None:
    labels, one, other = rows(500, 1, rightly=0.9)
    found = compare(labels, one, other, seed=1)
    means = [score(labels, calls, seed=1)["card"]["mean"] for calls in (one, other)]
    for metric in METRICS:
        difference = found["differences"][metric]
        assert difference["difference"] == pytest.approx(means[0][metric] - means[1][metric])
        low, high = difference["interval"]
        assert low < difference["difference"] < high
        assert low > 0  # nine in ten right against eight
    assert found["mcnemar_p"] < 0.05


def test_uneven_windows_are_counted_and_tested_exactly() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2, 1])
    one = np.array([0, 0, 1, 2, 1, 2, 0])
    other = np.array([0, 1, 2, 2, 2, 0, 0])
    found = compare(labels, one, other, seed=1)
    assert (found["only_one"], found["only_other"]) == (3, 1)
    assert found["mcnemar_p"] == pytest.approx(binomtest(3, 4).pvalue) == pytest.approx(10 / 16)


def test_a_row_beside_itself_differs_in_nothing() -> None:
    labels, one, _ = rows(200, 2, rightly=0.8)
    found = compare(labels, one, one, seed=1)
    assert found["mcnemar_p"] == 1
    assert all(each == {"difference": 0, "interval": [0, 0]} for each in found["differences"].values())


def test_the_interval_is_that_of_drawing_windows_with_both_their_calls() -> None:
    labels, one, other = rows(400, 3, rightly=0.8)
    found = compare(labels, one, other, seed=1, resamples=4000)["differences"]["accuracy"]["interval"]
    chance, drawn = np.random.default_rng(5), []
    for _ in range(1000):
        at = chance.integers(0, len(labels), len(labels))
        means = [score(labels[at], calls[at], seed=1, resamples=1)["card"]["mean"] for calls in (one, other)]
        drawn.append(means[0]["accuracy"] - means[1]["accuracy"])
    assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.008)


def test_decoys_count_against_their_own_label() -> None:
    """All donors and acceptors right; one row falls for the decoys of donors, the other for none."""
    labels = np.repeat([0, 1, 2, 2], 50)
    against = np.repeat([2, 2, 0, 1], 50)
    falls = np.where((labels == 2) & (against == 0), 0, labels)
    found = compare(labels, labels, falls, against, seed=1)["differences"]["accuracy"]
    assert found["difference"] == pytest.approx((1 - 0.5 + 1 - 1) / 2)
