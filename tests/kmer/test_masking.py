"""Masking and hidden bases against naive loops, and the rates DNABERT's rule promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.kmer.ids import bases_of, kmer_ids
from dnabert_nemo.kmer.masking import IGNORED, default_centre_probability, hidden_bases, mask_kmers
from dnabert_nemo.kmer.vocabulary import MASK, NUM_SPECIALS

DNABERT_OFFSETS = {3: [-1, 1], 4: [-1, 1, 2], 5: [-2, -1, 1, 2], 6: [-2, -1, 1, 2, 3]}
OFFSETS = {1: [], 2: [1], **DNABERT_OFFSETS, 7: [-3, -2, -1, 1, 2, 3]}
seeds = st.integers(0, 2**32)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def random_ids(num_tokens: int, k: int, seed: int) -> np.ndarray:
    return kmer_ids(generator(seed).integers(0, 4, num_tokens + k - 1, dtype=np.uint8), k)


def naive_mask(ids: np.ndarray, k: int, probability: float, rng: np.random.Generator) -> tuple[list, list]:
    centre, action, replacement = rng.random(len(ids)), rng.random(len(ids)), rng.random(len(ids))
    masked = set()
    for token in range(len(ids)):
        if centre[token] < probability:
            masked |= {token, *(token + offset for offset in OFFSETS[k])}
    inputs, labels = [], []
    for token, true in enumerate(ids.tolist()):
        labels.append(true if token in masked else IGNORED)
        if token not in masked or 0.8 <= action[token] < 0.9:
            inputs.append(true)
        else:
            inputs.append(MASK if action[token] < 0.8 else NUM_SPECIALS + int(replacement[token] * 4**k))
    return inputs, labels


@given(st.integers(1, 40), st.integers(1, 7), st.sampled_from([0.0, 0.05, 0.3, 1.0]), seeds)
@settings(max_examples=150)
def test_masking_is_dnaberts(num_tokens: int, k: int, probability: float, seed: int) -> None:
    ids = random_ids(num_tokens, k, seed)
    inputs, labels = mask_kmers(ids, k, probability, generator(seed))
    assert inputs.dtype == labels.dtype == np.int64
    assert (inputs.tolist(), labels.tolist()) == naive_mask(ids, k, probability, generator(seed))


@pytest.mark.parametrize("k", range(1, 8))
def test_rates(k: int) -> None:
    ids = random_ids(400_000, k, seed=k)
    inputs, labels = mask_kmers(ids, k, default_centre_probability(k), generator(1))
    masked = labels != IGNORED
    assert masked.mean() == pytest.approx(1 - (1 - 0.15 / k) ** k, abs=0.006)  # 0.139 to 0.15
    assert (inputs[masked] == MASK).mean() == pytest.approx(0.8, abs=0.01)
    kept = 0.1 + 0.1 / 4**k
    assert (inputs[masked] == ids[masked]).mean() == pytest.approx(kept, abs=0.01)
    assert np.array_equal(inputs[~masked], ids[~masked])
    drawn = inputs[masked & (inputs != ids) & (inputs != MASK)]
    assert drawn.min() >= NUM_SPECIALS
    assert drawn.max() < NUM_SPECIALS + 4**k
    assert (default_centre_probability(3), default_centre_probability(6)) == pytest.approx((0.05, 0.025))


def test_the_same_number_of_draws_whatever_is_masked() -> None:
    after = []
    for probability in (0.0, 0.05, 1.0):
        rng = generator(3)
        mask_kmers(random_ids(100, 6, seed=0), 6, probability, rng)
        after.append(rng.random())
    assert len(set(after)) == 1


@given(st.integers(1, 40), st.integers(1, 7), st.sampled_from([0.02, 0.1, 0.3]), seeds)
@settings(max_examples=150)
def test_hidden_bases_are_those_no_token_shows(
    num_tokens: int, k: int, probability: float, seed: int
) -> None:
    ids = random_ids(num_tokens, k, seed)
    inputs, labels = mask_kmers(ids, k, probability, generator(seed))
    codes = bases_of(ids, k)
    naive = []
    for base in range(num_tokens + k - 1):
        covering = [token for token in range(num_tokens) if token <= base < token + k]
        if all(inputs[token] == MASK for token in covering):
            middle = covering[len(covering) // 2]
            naive.append((middle, base - middle, int(codes[base])))
    for truth in (ids, labels):
        hidden = hidden_bases(inputs, truth, k)
        assert (
            list(zip(hidden.token.tolist(), hidden.offset.tolist(), hidden.base.tolist(), strict=True))
            == naive
        )


def test_one_centre_of_k_tokens_hides_one_base() -> None:
    ids = random_ids(20, 6, seed=1)
    inputs = ids.astype(np.int64)
    inputs[8:14] = MASK
    hidden = hidden_bases(inputs, ids, 6)
    assert hidden.token.tolist() == [11]
    assert hidden.offset.tolist() == [2]
    assert hidden.base.tolist() == [bases_of(ids, 6)[13]]
