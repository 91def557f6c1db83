"""What chance makes of two windows, against simulation, and what is refused because of it."""

from __future__ import annotations

import numpy as np
import pytest

from dnabert_nemo.duplicates.similarity import chance_similarity, check_chance, identity, short, workable_k
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.canonical import canonical_kmers


def simulated(bases: int, k: int, pairs: int) -> float:
    rng = np.random.default_rng(k)
    found = []
    for _ in range(pairs):
        one, other = (
            set(canonical_kmers(rng.integers(0, 4, bases, dtype=np.uint8), k).tolist()) for _ in range(2)
        )
        found.append(len(one & other) / len(one | other))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("bases", "k", "pairs"), [(10_000, 7, 20), (10_000, 8, 20), (10_000, 9, 20), (500, 5, 60), (500, 4, 60)]
)
def test_chance_is_what_random_windows_share(bases: int, k: int, pairs: int) -> None:
    assert chance_similarity(bases, k) == pytest.approx(simulated(bases, k, pairs), rel=0.04)


def test_chance_at_the_figures_everyone_meets() -> None:
    assert short(chance_similarity(10_000, 7)) == ".54"
    assert chance_similarity(10_000, 15) < 1e-5
    assert chance_similarity(10_000_000, 7) == pytest.approx(1)
    assert chance_similarity(20, 1) == pytest.approx(1, abs=1e-4)


def test_the_refusal_has_the_figure_and_a_k_that_works() -> None:
    with pytest.raises(ConfigError) as refused:
        check_chance(10_000, 7, 0.5)
    assert (
        "two unrelated 10,000-base windows share .54 of their canonical 7-mers; use k >= 11, where chance is "
        "below a tenth of the threshold"
    ) in str(refused.value)
    assert check_chance(10_000, 11, 0.5) < 0.05


@pytest.mark.parametrize("bases", [50, 500, 10_000, 1_000_000, 250_000_000])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.8, 1.0])
def test_the_k_it_names_is_taken(bases: int, threshold: float) -> None:
    assert check_chance(bases, workable_k(bases, threshold), threshold) < threshold / 10


def test_identity_is_that_of_substitutions() -> None:
    rng = np.random.default_rng(3)
    window = rng.integers(0, 4, 200_000, dtype=np.uint8)
    hit = rng.random(len(window)) < 0.02
    mutated = np.where(hit, (window + rng.integers(1, 4, len(window))) % 4, window).astype(np.uint8)
    one, other = (set(canonical_kmers(codes, 15).tolist()) for codes in (window, mutated))
    similarity = len(one & other) / len(one | other)
    assert similarity == pytest.approx(0.59, abs=0.01)
    assert identity(similarity, 15) == pytest.approx(0.98, abs=0.001)
    assert identity(1, 15) == 1
    assert identity(0, 15) == 0


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.54414, ".54"), (0.5, ".50"), (0.0024, ".0024"), (1e-5, ".000010"), (1, "1"), (0, "0")],
)
def test_shares_are_short(share: float, text: str) -> None:
    assert short(share) == text
