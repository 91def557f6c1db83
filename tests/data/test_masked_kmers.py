"""Micro-batches: every segment is one sample with its labels where the mask is, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnabert_nemo.data.masked_kmers import masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.sampling import SAMPLE, SamplingPlan
from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.kmer.ids import base_table, reverse_complement_table
from dnabert_nemo.kmer.masking import MASK_NAMES, MaskRule, hidden_bases
from dnabert_nemo.kmer.vocabulary import CLS, MASK, NUM_SPECIALS, PAD, SEP

SHAPE = StepShape(2, 2, tokens_per_row=300, max_positions=100)


def masking(k: int, probability: float, **changes: object) -> Masking:
    return Masking(MaskRule(k, probability=probability), **changes)


def rows_of(shards, *, seed: int = 1, reverse_complement: bool = True) -> list[np.ndarray]:
    samples = SamplingPlan(shards.stretch_tokens, 98, seed, reverse_complement=reverse_complement).samples(
        0, 60
    )
    rows, used = [], 0
    for _ in range(2):
        fits = np.cumsum(samples["length"][used:] + 2) <= 300
        rows.append(samples[used : used + int(fits.sum())])
        used += int(fits.sum())
    return rows


@pytest.mark.parametrize("k", [1, 3, 6])
def test_segments_are_the_samples_and_then_padding(toy_shards, k) -> None:
    shards = toy_shards(k, [900, 70, 5000])
    rows = rows_of(shards)
    batch = masked_micro_batch(rows, shards, masking(k, 0.3 / k), SHAPE)
    true_ids = batch.ids.clone()
    true_ids[batch.masked_at] = batch.labels

    assert sum(batch.segment_lengths) == len(batch.ids) == len(batch.positions) == 600
    segments = list(
        zip(true_ids.split(batch.segment_lengths), batch.positions.split(batch.segment_lengths), strict=True)
    )
    seen_reverse = False
    for row in rows:
        used = 0
        for sample in row:
            ids, positions = segments.pop(0)
            expected = shards.read(sample["stretch"], sample["start"], sample["length"])
            if sample["reverse"]:
                expected = reverse_complement_table(k)[expected[::-1]]
                seen_reverse = True
            assert ids.tolist() == [CLS, *expected.tolist(), SEP]
            assert positions.tolist() == list(range(len(ids)))
            used += len(ids)
        while used < 300:
            ids, positions = segments.pop(0)
            assert (ids == PAD).all()
            assert positions.tolist() == list(range(len(ids)))
            used += len(ids)
    assert not segments
    assert seen_reverse
    assert batch.num_samples == sum(map(len, rows))
    assert batch.num_tokens == (true_ids != PAD).sum()


@pytest.mark.parametrize("k", [1, 3, 6])
def test_labels_and_hidden_bases(toy_shards, k) -> None:
    shards = toy_shards(k, [900, 70, 5000])
    batch = masked_micro_batch(rows_of(shards), shards, masking(k, 0.4 / k), SHAPE)
    assert (batch.labels >= NUM_SPECIALS).all()
    assert (batch.masked_at.diff() > 0).all()
    assert 0.15 < len(batch.labels) / batch.num_tokens < 0.45
    assert 0.6 < (batch.ids[batch.masked_at] == MASK).float().mean() < 0.95
    unmasked = torch.ones(len(batch.ids), dtype=torch.bool)
    unmasked[batch.masked_at] = False
    assert not (batch.ids[unmasked] == MASK).any()

    assert len(batch.hidden_base) > 0
    assert (batch.ids[batch.masked_at[batch.hidden_token]] == MASK).all()
    bases = torch.from_numpy(base_table(k).astype(np.int64))
    assert torch.equal(bases[batch.labels[batch.hidden_token], batch.hidden_offset], batch.hidden_base)

    # the same bases, counted segment by segment from what the model sees
    true_ids = batch.ids.clone()
    true_ids[batch.masked_at] = batch.labels
    expected, at = [], 0
    for inputs, ids in zip(
        batch.ids.split(batch.segment_lengths), true_ids.split(batch.segment_lengths), strict=True
    ):
        if inputs[0] == CLS:
            hidden = hidden_bases(inputs[1:-1].numpy(), ids[1:-1].numpy(), np.array([len(ids) - 2]), k)
            expected += list(zip((at + 1 + hidden.token).tolist(), hidden.offset.tolist(), strict=True))
        at += len(inputs)
    found = zip(batch.masked_at[batch.hidden_token].tolist(), batch.hidden_offset.tolist(), strict=True)
    assert list(found) == expected


def test_a_sample_is_masked_alike_wherever_it_lies(toy_shards) -> None:
    shards = toy_shards(3, [900, 70, 5000])
    sample = rows_of(shards)[0][1:2]
    other = rows_of(shards, seed=9)[0][:1]
    alone = masked_micro_batch([sample], shards, masking(3, 0.1), SHAPE)
    second = masked_micro_batch([other, np.concatenate([other, sample])], shards, masking(3, 0.1), SHAPE)
    start = 300 + int(other["length"][0]) + 2
    assert torch.equal(second.ids[start : start + alone.num_tokens], alone.ids[: alone.num_tokens])
    assert torch.equal(second.labels[-len(alone.labels) :], alone.labels)
    assert torch.equal(second.masked_at[-len(alone.labels) :], alone.masked_at + start)


# Where its last base changes, a token still follows the one before it, and the next no longer follows.
@pytest.mark.parametrize(
    ("token", "damage", "told"), [(30, 1 << 14, 30), (31, 3, 32), (400, 64, 400), (401, 1 << 9, 401)]
)
def test_a_changed_token_is_told_with_its_stretch_on_either_strand(toy_shards, token, damage, told) -> None:
    shards = toy_shards(3, [90, 900])
    samples = np.zeros(2, dtype=SAMPLE)
    samples["stretch"] = [0, 1]
    samples["start"] = [20, 380]
    samples["length"] = [40, 90]
    stretch = int(token > 90)
    ids = shards.ids[stretch]
    ids[token] = (int(ids[token]) - NUM_SPECIALS ^ damage) + NUM_SPECIALS
    for reverse in (False, True):
        samples["reverse"] = reverse
        with pytest.raises(ShardError, match=rf"^toy, stretch {stretch}: token {told} of .* no 3-mer that"):
            masked_micro_batch([samples], shards, masking(3, 0.1), SHAPE)


def test_an_empty_row_is_padding_in_segments_no_longer_than_a_sample(toy_shards) -> None:
    batch = masked_micro_batch(
        [np.empty(0, dtype=SAMPLE)], toy_shards(3, [900]), masking(3, 0.1), StepShape(1, 1, 250, 100)
    )
    assert batch.segment_lengths == (100, 100, 50)
    assert (batch.ids == PAD).all()
    assert batch.positions.max() == 99
    assert batch.num_tokens == batch.num_samples == 0
    for name in ("masked_at", "labels", "hidden_token", "hidden_offset", "hidden_base"):
        assert getattr(batch, name).shape == (0,) and getattr(batch, name).dtype == torch.int64


@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("name", MASK_NAMES)
def test_soft_masked_tokens_count_by_their_weight_and_change_nothing_else(toy_shards, name, k) -> None:
    shards = toy_shards(k, [900, 70, 50_000])
    shape = StepShape(1, 1, tokens_per_row=30_000, max_positions=100)
    samples = SamplingPlan(shards.stretch_tokens, 98, 1, reverse_complement=True).samples(0, 280)
    batches = {
        weight: masked_micro_batch([samples], shards, Masking(MaskRule(k, name), weight), shape)
        for weight in (1.0, 0.25, 0.0)
    }
    is_soft = torch.zeros(30_000, dtype=torch.bool)
    at = 0
    for sample in samples:
        bases = shards.read_soft_mask(sample["stretch"], sample["start"], sample["length"] + k - 1)
        middle = (bases[::-1] if sample["reverse"] else bases)[1 : sample["length"] + 1]
        is_soft[at + 1 : at + 1 + sample["length"]] = torch.from_numpy(middle.copy())
        at += int(sample["length"]) + 2
    whole = batches[1.0]
    num_soft = int(is_soft[whole.masked_at].sum())
    assert 300 < num_soft < len(whole.masked_at) - 300
    for weight, batch in batches.items():
        assert torch.equal(batch.ids, whole.ids)
        kept = torch.isin(whole.masked_at, batch.masked_at)
        assert kept[~is_soft[whole.masked_at]].all()
        assert int(is_soft[batch.masked_at].sum()) / num_soft == pytest.approx(weight, abs=0.06)
        assert torch.equal(batch.labels, whole.labels[kept])
        # hidden bases are those whose token is still asked for
        bases = torch.from_numpy(base_table(k).astype(np.int64))
        assert torch.equal(bases[batch.labels[batch.hidden_token], batch.hidden_offset], batch.hidden_base)
        # and away from the ends of a sample that token's middle base is the hidden one
        assert batch.hidden_offset.bincount().argmax() == 1
        pairs = zip(whole.masked_at[whole.hidden_token].tolist(), whole.hidden_offset.tolist(), strict=True)
        expected = [pair for pair in pairs if pair[0] in set(batch.masked_at.tolist())]
        found = zip(batch.masked_at[batch.hidden_token].tolist(), batch.hidden_offset.tolist(), strict=True)
        assert list(found) == expected


@pytest.mark.parametrize("weight", [-0.1, 1.1, "half", True, float("nan")])
def test_weights_that_are_none(weight) -> None:
    with pytest.raises(ConfigError, match=r"model.data.soft_masked_weight=.*: give a number from 0 to 1"):
        masking(3, 0.1, soft_masked_weight=weight)
