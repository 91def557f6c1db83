"""Baselines that learn: on tasks whose answer is known, and their parts against loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from dnabert_nemo.downstream.cnn_baseline import ConvolutionalNetwork, SmallCnn
from dnabert_nemo.downstream.learned_baselines import (
    Baseline,
    KmerLogistic,
    Labelled,
    OneHotLogistic,
    PairLogistic,
    PositionWeights,
    middle_codes,
)
from dnabert_nemo.genome.alphabet import BASES, decode
from dnabert_nemo.kmer.ids import bases_of

Make = Callable[[], Baseline]
BY_PLACE: list[Make] = [
    lambda: PositionWeights(40),
    lambda: OneHotLogistic(40),
    lambda: PairLogistic(12),
    ConvolutionalNetwork,
]
BY_CONTENT: list[Make] = [lambda: KmerLogistic(3), ConvolutionalNetwork]


def drawn(count: int, seed: int, change: Callable[[list[str], int, np.random.Generator], None]) -> Labelled:
    """Draw random sequences of 80 bases, three classes in turn, and let each be changed by its class."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    sequences = []
    for label in labels.tolist():
        letters = ["ACGT"[code] for code in chance.integers(0, 4, 80)]
        change(letters, label, chance)
        sequences.append("".join(letters))
    return Labelled(sequences, labels)


def motif_in_the_middle(letters: list[str], label: int, chance: np.random.Generator) -> None:
    letters[36:44] = list(("CAGGTAAG", "TTTCAGGA", "ACGTACGA")[label])


def motif_anywhere(letters: list[str], label: int, chance: np.random.Generator) -> None:
    for at in (chance.integers(0, 36), chance.integers(40, 72)):
        letters[at : at + 8] = list(("CACACACA", "GGCGGCGG", "TTATTATT")[label])


@pytest.mark.parametrize("make", BY_PLACE)
def test_bases_at_a_place_are_learned(make: Make) -> None:
    train, validation, test = (
        drawn(n, seed, motif_in_the_middle) for n, seed in ((300, 1), (60, 2), (90, 3))
    )
    baseline = make()
    baseline.fit(train, validation, seed=1)
    found = baseline.probabilities(test.sequences)
    assert found.shape == (90, 3)
    assert found.sum(1) == pytest.approx(1)
    assert matthews_corrcoef(test.labels, found.argmax(1)) > 0.95


def two_places_agree(letters: list[str], label: int, chance: np.random.Generator) -> None:
    """Each base is as frequent at each place in every class: only both together tell."""
    letters[42] = "ACGT"[("ACGT".index(letters[37]) + label) % 4]


def test_what_two_places_say_together_is_learned_from_pairs_alone() -> None:
    train, validation, test = (drawn(n, seed, two_places_agree) for n, seed in ((900, 1), (150, 2), (150, 3)))
    reached = []
    for baseline in (PairLogistic(12), OneHotLogistic(12)):
        baseline.fit(train, validation, seed=1)
        reached.append(matthews_corrcoef(test.labels, baseline.probabilities(test.sequences).argmax(1)))
    assert reached[0] > 0.9
    assert abs(reached[1]) < 0.2


def test_pairs_are_those_of_a_loop() -> None:
    sequences = ["ACGTN", "GGGTA"]
    found = PairLogistic(4)._features(sequences).toarray()
    expected = np.zeros((2, 6, 4, 4))
    for row, letters in enumerate(("ACGT", "GGGT")):
        places = [(i, j) for i in range(4) for j in range(i + 1, 4)]
        for at, (i, j) in enumerate(places):
            expected[row, at, BASES.index(letters[i]), BASES.index(letters[j])] = 1
    assert np.array_equal(found, expected.reshape(2, -1))
    assert PairLogistic(4)._features(["ANGT"]).sum() == 3  # of A, G and T alone


@pytest.mark.parametrize("make", BY_CONTENT)
def test_motifs_anywhere_are_learned(make: Make) -> None:
    train, validation, test = (drawn(n, seed, motif_anywhere) for n, seed in ((600, 1), (90, 2), (90, 3)))
    baseline = make()
    baseline.fit(train, validation, seed=1)
    assert matthews_corrcoef(test.labels, baseline.probabilities(test.sequences).argmax(1)) > 0.9


@pytest.mark.parametrize("make", [*BY_PLACE, *BY_CONTENT])
def test_where_there_is_nothing_to_learn_nothing_is(make: Make) -> None:
    train, validation, test = (drawn(n, seed, lambda *_: None) for n, seed in ((300, 1), (60, 2), (300, 3)))
    baseline = make()
    baseline.fit(train, validation, seed=1)
    assert abs(matthews_corrcoef(test.labels, baseline.probabilities(test.sequences).argmax(1))) < 0.2


@pytest.mark.parametrize("make", [*BY_PLACE, *BY_CONTENT])
def test_the_same_seed_gives_the_same_probabilities(make: Make) -> None:
    train, validation = (drawn(n, seed, motif_in_the_middle) for n, seed in ((120, 1), (60, 2)))
    found = []
    for _ in range(2):
        baseline = make()
        baseline.fit(train, validation, seed=3)
        found.append(baseline.probabilities(validation.sequences))
    assert np.array_equal(*found)


def test_no_penalty_is_tried_weaker_than_one_that_does_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = (drawn(n, seed, motif_anywhere) for n, seed in ((300, 1), (90, 2)))
    tried: list[float] = []
    reached = {0.01: 0.5, 0.1: 0.4, 1.0: 0.9}
    fit = LogisticRegression.fit

    def told(model: LogisticRegression, *data: Any) -> Any:
        tried.append(model.C)
        return fit(model, *data)

    monkeypatch.setattr(LogisticRegression, "fit", told)
    monkeypatch.setattr(
        "dnabert_nemo.downstream.learned_baselines.matthews_corrcoef", lambda *_: reached[tried[-1]]
    )
    baseline = KmerLogistic(3)
    baseline.fit(train, validation, seed=1)
    assert tried == [0.01, 0.1]
    assert baseline._model.C == 0.01


def test_position_weights_are_counts_of_bases() -> None:
    """By hand: log of (count + 1) / (n + 5), each letter and what is none, over 40 places."""
    train = drawn(90, 1, motif_in_the_middle)
    baseline = PositionWeights(40)
    baseline.fit(train, train, seed=1)
    [sequence] = drawn(1, 7, motif_in_the_middle).sequences
    scores = []
    for label in range(3):
        own = [each[20:60] for each, at in zip(train.sequences, train.labels, strict=True) if at == label]
        columns = [Counter(column) for column in zip(*own, strict=True)]
        logs = [
            np.log((c[base] + 1) / (len(own) + 5)) for c, base in zip(columns, sequence[20:60], strict=True)
        ]
        scores.append(sum(logs) + np.log(len(own) / 90))
    by_hand = np.exp(np.array(scores) - max(scores))
    assert baseline.probabilities([sequence])[0] == pytest.approx(by_hand / by_hand.sum(), rel=1e-6)


def test_kmers_are_counted_and_those_over_n_are_not() -> None:
    features = KmerLogistic(2)._features(["ACGTNACG", "AAAAA"]).toarray()
    names = [decode(bases_of(np.array([5 + at]), 2)) for at in range(16)]
    counts = [dict(zip(names, np.round(np.expm1(row)).astype(int), strict=True)) for row in features]
    assert {name: n for name, n in counts[0].items() if n} == {"AC": 2, "CG": 2, "GT": 1}
    assert {name: n for name, n in counts[1].items() if n} == {"AA": 4}


def test_what_is_no_base_has_no_feature_and_no_channel() -> None:
    features = OneHotLogistic(4)._features(["ACNT"])
    assert features.reshape(4, 4).sum(1).tolist() == [1, 1, 0, 1]
    assert SmallCnn(80, 3).one_hot[4].tolist() == [0, 0, 0, 0]


def test_sequences_of_other_lengths_are_told() -> None:
    with pytest.raises(ValueError, match="sequences of 3 to 4 bases, where all have to be alike"):
        middle_codes(["ACGT", "ACG"], 2)
