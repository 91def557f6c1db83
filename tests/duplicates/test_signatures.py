"""Signatures estimate Jaccard without bias and meet as the formula says; exact keys know both strands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.duplicates.signatures import BATCH_BASES, Bands, Sketcher, choose_bands, exact_key
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import reverse_complement
from dnabert_nemo.kmer.canonical import canonical_kmers

SINGLE = Bands(rows=1, bands=128)  # every value a band: how many agree estimates the similarity


def bases(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, count, dtype=np.uint8)


def jaccard(one: np.ndarray, other: np.ndarray, k: int) -> float:
    first, second = (set(canonical_kmers(codes, k).tolist()) for codes in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("length", [60, 500, 5_000])
@pytest.mark.parametrize("shared", [0.3, 0.6, 0.9])
def test_values_agree_as_often_as_sets_do(length: int, shared: float) -> None:
    window = bases(length, 1)
    other = np.concatenate([window[: round(shared * length)], bases(length - round(shared * length), 2)])
    true = jaccard(window, other, 15)
    agree = []
    for seed in range(60):
        one, two = Sketcher(15, SINGLE, seed).band_keys([window, other])
        agree.append(np.mean(one == two))
    # 60 seeds of 128 values: three standard errors
    assert np.mean(agree) == pytest.approx(true, abs=3 * (true * (1 - true) / (60 * 128)) ** 0.5 + 0.002)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_windows_at_the_threshold_meet_with_the_recall(threshold: float) -> None:
    bands = choose_bands(threshold, 0.95)
    window = bases(2_000, 3)
    overlap = round(2_000 * 2 * threshold / (1 + threshold))
    other = np.concatenate([window[-overlap:], bases(2_000 - overlap, 4)])
    expected = bands.chance_to_meet(jaccard(window, other, 21))
    met = [
        (keys[0] == keys[1]).any()
        for keys in (Sketcher(21, bands, seed).band_keys([window, other]) for seed in range(300))
    ]
    assert np.mean(met) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 300) ** 0.5 + 0.005)


@given(threshold=st.floats(0.05, 1), recall=st.floats(0.5, 0.99))
def test_bands_reach_the_recall(threshold: float, recall: float) -> None:
    bands = choose_bands(threshold, recall)
    assert bands.chance_to_meet(threshold) >= recall - 1e-9
    assert bands.rows * bands.bands <= 128


def test_a_threshold_too_low_for_the_signature_names_one_that_is_not() -> None:
    with pytest.raises(ConfigError, match=r"pass max_similarity=0\.024 or more"):
        choose_bands(0.01, 0.95)
    assert choose_bands(0.024, 0.95).rows == 1


def test_keys_are_of_the_window_alone_and_of_both_strands() -> None:
    sketcher = Sketcher(15, choose_bands(0.5, 0.95), seed=7)
    windows = [bases(count, count) for count in (30, 400, 15, 1_000)]
    together = sketcher.band_keys(windows)
    for window, keys in zip(windows, together, strict=True):
        np.testing.assert_array_equal(sketcher.band_keys([window])[0], keys)
        np.testing.assert_array_equal(sketcher.band_keys([reverse_complement(window)])[0], keys)
    assert len({keys.tobytes() for keys in together}) == len(windows)


def test_a_long_window_is_sketched_in_parts_as_if_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sketcher = Sketcher(15, choose_bands(0.5, 0.95), seed=7)
    window = bases(BATCH_BASES, 8)
    whole = sketcher.band_keys([window])
    monkeypatch.setattr("dnabert_nemo.duplicates.signatures.BATCH_BASES", 1_000)
    np.testing.assert_array_equal(sketcher.band_keys([window]), whole)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 18])
@given(codes=st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_exact_keys_are_of_both_strands_and_tell_which(chunk: int, codes: list[int]) -> None:
    window = np.array(codes, dtype=np.uint8)
    other = reverse_complement(window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnabert_nemo.duplicates.signatures.BATCH_BASES", chunk)
        (high, low), (other_high, other_low) = exact_key(window), exact_key(other)
    assert (high, low >> 1) == (other_high, other_low >> 1)
    assert (low & 1 == other_low & 1) == np.array_equal(window, other)
    longer = exact_key(np.append(window, np.uint8(0)))
    assert longer[0] != high


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rensa", None)
    with pytest.raises(ConfigError, match=r"pip install dnabert_nemo\[deduplicate\]"):
        Sketcher(15, SINGLE, 1)
