"""Samples drawn from a record in passing: inside their stretches, even over its tokens, by the length mix."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.data.record_draws import draw_samples


def words(seed: int) -> np.random.Philox:
    return np.random.Philox(key=seed)


def drawn(tokens: list[int], seed: int = 1, ratios: list[float] | None = None, **changes) -> np.ndarray:
    given = np.array([1.0] * len(tokens) if ratios is None else ratios)
    return draw_samples(np.array(tokens), given, changes.pop("max_tokens", 510), words(seed), **changes)


@given(
    tokens=st.lists(st.integers(1, 17_000), min_size=1, max_size=120),
    seed=st.integers(0, 2**64 - 1),
    max_tokens=st.integers(5, 600),
    mix=st.sampled_from(["dnabert", "full"]),
)
def test_every_sample_lies_in_its_stretch(tokens: list[int], seed: int, max_tokens: int, mix: str) -> None:
    samples = drawn(tokens, seed, max_tokens=max_tokens, length_mix=mix)
    assert len(samples) - sum(tokens) / max_tokens < 1
    assert len(samples) > sum(tokens) / max_tokens - 1
    inside = np.array(tokens)[samples["stretch"]]
    assert (samples["start"] >= 0).all()
    assert (samples["start"] + samples["length"] <= inside).all()
    assert (samples["length"] >= np.minimum(5, inside)).all()
    assert not samples["reverse"].any()
    if mix == "full":
        assert (samples["length"] == np.minimum(max_tokens, inside)).all()


def test_the_generator_decides_all() -> None:
    assert np.array_equal(drawn([9000, 40, 700]), drawn([9000, 40, 700]))
    assert not np.array_equal(drawn([9000]), drawn([9000], seed=2))
    keys = np.concatenate([drawn([16_000], seed)["mask_key"] for seed in range(50)])
    assert len(set(keys.tolist())) == len(keys)


def test_every_part_of_a_record_is_read() -> None:
    samples = drawn([5100])
    assert len(samples) == 10
    share = samples["start"] / (5100 - samples["length"] + 1)
    assert np.array_equal(np.floor(np.sort(share) * 10), np.arange(10))


def test_tokens_are_read_alike_whatever_the_record() -> None:
    """1,000 epochs of three records: samples by record and stretch go by their tokens."""
    counts = [
        np.sum(
            [np.bincount(drawn(tokens, seed)["stretch"], minlength=2) for seed in range(n, n + 1000)], axis=0
        )
        for n, tokens in ((0, [300, 30]), (5000, [10_000, 6_000]), (9000, [700, 4]))
    ]
    expected = 1000 * np.array([[300, 30], [10_000, 6_000], [700, 4]]) / 510
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected) + 1)


def test_a_ratio_weighs_a_stretch() -> None:
    samples = np.concatenate([drawn([4000, 4000], seed, [0.5, 1.5]) for seed in range(300)])
    counts = np.bincount(samples["stretch"])
    assert abs(counts[1] / counts[0] - 3) < 0.3
    assert abs(len(samples) / 300 - 8000 / 510) < 0.3


def test_the_length_mix_and_strands() -> None:
    samples = np.concatenate([drawn([16_000], seed, reverse_complement=True) for seed in range(300)])
    full = samples["length"] == 510
    assert abs(full.mean() - 0.2 - 0.8 / 506) < 0.02
    shorter = samples["length"][~full]
    assert shorter.min() == 5
    assert abs(shorter.mean() - 257) < 6
    assert abs(samples["reverse"].mean() - 0.5) < 0.03
