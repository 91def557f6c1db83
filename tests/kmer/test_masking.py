"""The masks: which tokens, how many, what is shown instead, and what stays hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.ids import base_table, bases_of, kmer_ids
from dnabert_nemo.kmer.masking import MASK_NAMES, MaskRule, hidden_bases, mask_kmers
from dnabert_nemo.kmer.vocabulary import MASK, NUM_SPECIALS, UNK

rules = st.builds(
    MaskRule,
    k=st.integers(1, 7),
    name=st.sampled_from(MASK_NAMES),
    probability=st.one_of(st.none(), st.floats(0.001, 1)),
    all_mask=st.booleans(),
)


def samples_of(
    k: int, lengths: list[int], seed: int, unknown: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw random samples end to end: (ids, lengths, keys)."""
    rng = np.random.Generator(np.random.Philox(seed))
    parts = []
    for length in lengths:
        codes = rng.integers(0, 4, length + k - 1).astype(np.uint8)
        codes[rng.random(len(codes)) < unknown] = 4
        parts.append(kmer_ids(codes, k, keep_unknown=True))
    keys = rng.integers(0, 2**64, len(lengths), dtype=np.uint64)
    return np.concatenate(parts), np.array(lengths, dtype=np.int64), keys


@given(
    rules,
    st.lists(st.integers(1, 80), min_size=1, max_size=5),
    st.integers(0, 2**32),
    st.sampled_from([0, 0.05]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_rule(rule: MaskRule, lengths: list[int], seed: int, unknown: float) -> None:
    ids, sizes, keys = samples_of(rule.k, lengths, seed, unknown)
    masked = mask_kmers(ids, sizes, keys, rule)
    is_masked = np.zeros(len(ids), dtype=bool)
    is_masked[masked.at] = True
    assert np.array_equal(masked.inputs[~is_masked], ids[~is_masked])
    assert (np.diff(masked.at) > 0).all()
    assert not np.any(ids[masked.at] == UNK)
    shown = masked.inputs[masked.at]
    assert np.all((shown == MASK) | ((shown >= NUM_SPECIALS) & (shown < NUM_SPECIALS + 4**rule.k)))
    if rule.all_mask:
        assert np.all(shown == MASK)
    # each sample alone gives what it gives among others
    first = 0
    for number, length in enumerate(lengths):
        part = slice(first, first + length)
        alone = mask_kmers(ids[part], sizes[number : number + 1], keys[number : number + 1], rule)
        assert np.array_equal(alone.inputs, masked.inputs[part])
        first += length


@given(
    rules,
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([0, 0.05]),
)
@settings(max_examples=200, deadline=None)
def test_hidden_bases_are_those_no_visible_token_shows(
    rule: MaskRule, lengths: list[int], seed: int, unknown: float
) -> None:
    ids, sizes, keys = samples_of(rule.k, lengths, seed, unknown)
    inputs = mask_kmers(ids, sizes, keys, rule).inputs
    hidden = hidden_bases(inputs, ids, sizes, rule.k)
    expected, first = set(), 0
    for length in lengths:
        codes = bases_of(ids[first : first + length], rule.k)
        for base in range(length + rule.k - 1):
            over = [first + t for t in range(max(0, base - rule.k + 1), min(length - 1, base) + 1)]
            if all(inputs[t] == MASK for t in over):
                expected.add((first + base, int(codes[base])))
                assert (over[0] + over[-1] + 1) // 2 in hidden.token
        first += length
    assert set(zip((hidden.token + hidden.offset).tolist(), hidden.base.tolist(), strict=True)) == expected
    assert np.array_equal(base_table(rule.k)[ids[hidden.token], hidden.offset], hidden.base)


@pytest.mark.parametrize("k", [3, 6])
@pytest.mark.parametrize("name", MASK_NAMES)
def test_shares(name: str, k: int) -> None:
    ids, sizes, keys = samples_of(k, [510] * 800, seed=1)
    rule = MaskRule(k, name)
    masked = mask_kmers(ids, sizes, keys, rule)
    assert len(masked.at) / len(ids) == pytest.approx(0.142, abs=0.012)
    shown, true = masked.inputs[masked.at], ids[masked.at]
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=0.02)
    kept = 0.1 + (0.1 / 4**k if name != "bases" else 0)
    if name != "bases":  # random bases leave some tokens at the edge of a run as they were
        assert np.mean(shown == true) == pytest.approx(kept, abs=0.01)
        random = shown[(shown != MASK) & (shown != true)] - NUM_SPECIALS
        assert np.bincount(random * 16 // 4**k, minlength=16).std() / (len(random) / 16) < 0.1
    hidden = hidden_bases(masked.inputs, ids, sizes, k)
    # bases never copied from a neighbour, of 100: by the published mask about one in k of 14 masked tokens
    per_cent = 100 * len(hidden.base) / (len(ids) + 800 * (k - 1))
    assert per_cent == pytest.approx(
        {
            ("dnabert", 3): 2.9,
            ("dnabert", 6): 0.96,
            ("bases", 3): 7.4,
            ("bases", 6): 4.9,
            ("random", 3): 4.3,
            ("random", 6): 2.4,
        }[name, k],
        rel=0.2,
    )


def test_a_centre_masks_what_dnabert_published() -> None:
    offsets = {3: [-1, 0, 1], 4: [-1, 0, 1, 2], 5: [-2, -1, 0, 1, 2], 6: [-2, -1, 0, 1, 2, 3]}
    for k, reach in offsets.items():
        seen = set()
        for seed in range(60):
            ids, sizes, keys = samples_of(k, [40], seed)
            at = mask_kmers(ids, sizes, keys, MaskRule(k, probability=0.01, all_mask=True)).at
            if len(at) == k and at[0] > 0 and at[-1] < 39:  # one centre, not at an end
                centre = at[0] - reach[0]
                assert (at - centre).tolist() == reach
                seen.add(int(centre))
        assert len(seen) > 3


def test_runs_of_bases_hide_m_bases_with_m_and_k_minus_1_tokens() -> None:
    k = 4
    sizes_seen = []
    for seed in range(300):
        ids, sizes, keys = samples_of(k, [200], seed)
        masked = mask_kmers(ids, sizes, keys, MaskRule(k, "bases", probability=0.004, all_mask=True))
        runs = np.split(masked.at, np.flatnonzero(np.diff(masked.at) > 1) + 1)
        for run in runs:
            if len(run) and run[0] > 0 and run[-1] < 199 and len(run) <= 10 + k - 1:
                sizes_seen.append(len(run) - (k - 1))
                hidden = hidden_bases(masked.inputs, ids, sizes, k)
                bases = hidden.token + hidden.offset
                assert np.sum((bases >= run[0]) & (bases <= run[-1] + k - 1)) == sizes_seen[-1]
    assert min(sizes_seen) == 1
    assert np.mean(sizes_seen) == pytest.approx(3.8, abs=0.6)


@pytest.mark.parametrize("seed", range(5))
def test_runs_of_bases_do_not_leak(seed: int) -> None:
    """All shown k-mers of a sample fit together: a run is hidden, or shown as other bases, or as it is."""
    k = 3
    ids, sizes, keys = samples_of(k, [400], seed)
    masked = mask_kmers(ids, sizes, keys, MaskRule(k, "bases"))
    shown = np.flatnonzero(masked.inputs != MASK)
    for stretch in np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1):
        assert len(bases_of(masked.inputs[stretch], k)) == len(stretch) + k - 1
    at = masked.at
    for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        assert len(set((masked.inputs[run] == MASK).tolist())) == 1


def test_golden() -> None:
    """The masks of a seed must stay what they are, or a resumed run would see others."""
    ids, sizes, keys = samples_of(3, [30, 25], seed=7)
    for name, expected in GOLDEN.items():
        inputs = mask_kmers(ids, sizes, keys, MaskRule(3, name, 0.06)).inputs
        assert np.flatnonzero(inputs != ids).tolist() == expected


GOLDEN = {
    "dnabert": [8, 9, 10, 19, 20, 21, 22, 28, 45, 46, 47, 49, 50, 51],
    "bases": [9, 10, 11, 12, 13, 19, 20, 21, 22, 23, 24, 46, 47, 48, 50, 51, 52, 53, 54],
    "random": [
        5,
        7,
        8,
        9,
        10,
        11,
        12,
        16,
        17,
        19,
        20,
        21,
        22,
        27,
        28,
        42,
        43,
        44,
        45,
        46,
        47,
        49,
        50,
        51,
        52,
        53,
        54,
    ],
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "spans"}, r"model.data.mask.name=spans is not known: choose dnabert, bases, random"),
        ({"probability": 0}, r"model.data.mask.probability=0 is not above 0 and up to 1: null masks .* 0.05"),
        ({"probability": 1.5}, "probability=1.5"),
        ({"probability": "much"}, "probability=much"),
        ({"all_mask": "yes"}, "all_mask=yes: give true or false"),
    ],
)
def test_rules_that_are_none(changed: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MaskRule(3, **changed)


@pytest.mark.parametrize("name", MASK_NAMES)
@pytest.mark.parametrize("k", [3, 6])
def test_the_share_of_a_rule_is_about_what_it_masks(name, k: int) -> None:
    ids, lengths, keys = samples_of(k, [510] * 200, seed=1)
    rule = MaskRule(k, name)
    assert rule.share == pytest.approx(len(mask_kmers(ids, lengths, keys, rule).at) / len(ids), rel=0.06)
