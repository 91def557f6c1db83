"""Average precision and top-k by hand, against scikit-learn and a loop, and what their intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from dnabert_nemo.downstream.scan_scores import (
    METRICS,
    Ranking,
    bootstrap,
    figures,
    precision_recall,
    random_figures,
    ranking,
)


def ranked_of(scores: list[float], is_site: list[int], genes: list[int] | None = None) -> Ranking:
    own = np.zeros(len(scores), dtype=int) if genes is None else np.array(genes)
    return ranking(np.array(scores), np.array(is_site, dtype=bool), own, int(own.max()) + 1)


def measured(scores: list[float], is_site: list[int]) -> dict[str, float]:
    return figures(*ranked_of(scores, is_site).cumulated())


def test_figures_by_hand() -> None:
    """Sites at ranks 1, 3, 4 and 8 of 10: precisions 1, 2/3, 3/4 and 4/8."""
    found = measured([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [1, 0, 1, 1, 0, 0, 0, 1, 0, 0])
    assert found["auprc"] == pytest.approx((1 + 2 / 3 + 3 / 4 + 1 / 2) / 4)
    assert found["top_0.5k"] == pytest.approx(1 / 2)  # of two positions
    assert found["top_1k"] == pytest.approx(3 / 4)
    assert found["top_2k"] == pytest.approx(4 / 4)  # of four sites, in eight positions
    assert found["top_4k"] == pytest.approx(4 / 4)  # there are but ten


def test_ties_count_by_what_may_be_expected() -> None:
    """One position scores 2, five score 1, two sites among them, four score 0, one site among them."""
    scores, is_site = [2, 1, 1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 1, 0, 0, 0]
    for order in (np.arange(10), np.arange(10)[::-1], np.random.default_rng(1).permutation(10)):
        found = measured([scores[at] for at in order], [is_site[at] for at in order])
        assert found["auprc"] == pytest.approx(2 / 3 * 2 / 6 + 1 / 3 * 3 / 10)
        assert found["top_0.5k"] == pytest.approx(0)  # one position, no site
        assert found["top_1k"] == pytest.approx(2 * 2 / 5 / 3)
        assert found["top_2k"] == pytest.approx(2 / 3)
        assert found["top_4k"] == pytest.approx(1)


def test_a_rule_of_zeros_and_ones_is_what_drawing_lots_gives() -> None:
    rng = np.random.default_rng(1)
    is_site = rng.random(400) < 0.1
    rule = (is_site & (rng.random(400) < 0.9)) | (rng.random(400) < 0.2)
    num_sites = int(is_site.sum())
    lots = []
    for _ in range(4000):
        best = np.lexsort((rng.random(400), -rule.astype(float)))[:num_sites]
        lots.append(is_site[best].mean())
    found = measured(rule.astype(float).tolist(), is_site.tolist())
    assert found["top_1k"] == pytest.approx(np.mean(lots), abs=0.005)
    assert found["auprc"] == pytest.approx(average_precision_score(is_site, rule))


def test_scores_that_are_all_the_same_are_a_random_ranking() -> None:
    found = measured([1.0] * 1000, [1] * 10 + [0] * 990)
    assert found == pytest.approx(random_figures(10, 1000))
    assert found == pytest.approx(
        {"auprc": 0.01, "top_0.5k": 0.01, "top_1k": 0.01, "top_2k": 0.02, "top_4k": 0.04}
    )


@given(
    st.lists(st.tuples(st.integers(-3, 12), st.booleans()), min_size=1, max_size=60).filter(
        lambda rows: any(is_site for _, is_site in rows)
    )
)
def test_average_precision_is_scikit_learns_and_top_is_a_loops(rows: list[tuple[int, bool]]) -> None:
    scores, is_site = (np.array(column) for column in zip(*rows, strict=True))
    found = measured(scores.tolist(), is_site.tolist())
    assert found["auprc"] == pytest.approx(average_precision_score(is_site, scores))
    num_sites = int(is_site.sum())
    for share in (0.5, 1, 2, 4):
        asked = left = max(1, math.floor(share * num_sites))
        hits = 0.0
        for score in sorted(set(scores.tolist()), reverse=True):
            alike = scores == score
            hits += min(left, alike.sum()) * is_site[alike].mean()
            left -= min(left, int(alike.sum()))
        assert found[f"top_{share:g}k"] == pytest.approx(hits / min(asked, num_sites))


def test_on_random_scores_it_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    is_site = rng.random(20_000) < 0.01
    scores = (rng.normal(size=20_000) + 2 * is_site).astype(np.float32)
    ranked = ranking(scores, is_site, rng.integers(0, 30, 20_000), 30)
    assert figures(*ranked.cumulated())["auprc"] == pytest.approx(average_precision_score(is_site, scores))
    precision, recall = precision_recall(ranked)
    of_sklearn = set(
        zip(*(each.round(9) for each in precision_recall_curve(is_site, scores)[:2]), strict=True)
    )
    assert set(zip(precision.round(9), recall.round(9), strict=True)) <= of_sklearn
    assert len(precision) == int(is_site.sum())


def test_a_gene_drawn_twice_counts_as_two() -> None:
    rng = np.random.default_rng(5)
    scores, is_site, genes = rng.integers(0, 9, 300), rng.random(300) < 0.1, rng.integers(0, 4, 300)
    weights = np.array([2, 0, 1, 1])
    of_weights = figures(*ranking(scores, is_site, genes, 4).cumulated(weights))
    copied = np.repeat(np.arange(300), weights[genes])
    assert of_weights == pytest.approx(measured(scores[copied].tolist(), is_site[copied].tolist()))


def test_a_draw_without_a_site_is_no_number_and_no_site_at_all_is_an_error() -> None:
    ranked = ranked_of([3, 2, 1], [1, 0, 0], [0, 1, 1])
    assert all(np.isnan(list(figures(*ranked.cumulated(np.array([0, 2]))).values())))
    with pytest.raises(ValueError, match="0 sites"):
        ranked_of([1, 2], [0, 0])
    with pytest.raises(ValueError, match="1 scores are no numbers"):
        ranked_of([1, float("nan")], [1, 0])


def test_intervals_over_genes_cover_what_they_should() -> None:
    """Genes differ in how well they are ranked, so that intervals over positions would be far too narrow."""
    rng = np.random.default_rng(7)
    genes = np.repeat(np.arange(60), 40)

    def one_sample() -> Ranking:
        is_site = rng.random(len(genes)) < 0.15
        gain = rng.choice([0.0, 3.0], 60)[genes]
        return ranking(rng.normal(size=len(genes)) + gain * is_site, is_site, genes, 60)

    truth = np.mean([figures(*one_sample().cumulated())["top_1k"] for _ in range(200)])
    num_covered, widths = 0, []
    for seed in range(80):
        low, high = bootstrap({"donor": one_sample()}, seed=seed, resamples=200)["donor"]["top_1k"]
        num_covered += low <= truth <= high
        widths.append(high - low)
    assert 0.86 <= num_covered / 80 <= 1.0
    assert max(widths) < 0.35


def test_the_same_seed_gives_the_same_intervals_and_the_mean_is_drawn_with_them() -> None:
    rng = np.random.default_rng(9)
    genes = rng.integers(0, 20, 2000)
    own = {
        label: ranking(rng.normal(size=2000), rng.random(2000) < 0.05, genes, 20)
        for label in ("donor", "acceptor")
    }
    found = bootstrap(own, seed=1, resamples=50)
    assert list(found) == ["donor", "acceptor", "mean"]
    assert list(found["mean"]) == list(METRICS)
    assert found == bootstrap(own, seed=1, resamples=50) != bootstrap(own, seed=2, resamples=50)
    assert bootstrap({"a": own["donor"], "b": own["donor"]}, seed=1, resamples=50)["mean"] == found["donor"]
