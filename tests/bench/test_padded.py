"""The original way to make a batch is what it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnabert_nemo.bench.padded import POSITIONS, padded_batch, tokenized_samples
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.kmer.vocabulary import CLS, MASK, PAD, SEP


@pytest.mark.parametrize("k", [3, 6])
def test_a_batch_is_padded_and_masked_as_published(k: int) -> None:
    torch.manual_seed(1)
    ids = kmer_ids(np.random.default_rng(1).integers(4, size=50_000, dtype=np.uint8), k)
    samples = tokenized_samples(ids, 400, seed=1)
    inputs, labels = padded_batch(samples, k, MaskRule(k).chance)
    assert inputs.shape == labels.shape == (400, POSITIONS)
    real = sum(map(len, samples))
    assert 0.30 < 1 - real / inputs.numel() < 0.46
    masked = labels != -100
    assert 0.11 < masked.sum() / real < 0.16
    assert 0.78 < (inputs[masked] == MASK).float().mean() < 0.82
    for row, sample in enumerate(samples):
        assert inputs[row, 0] == CLS
        assert inputs[row, len(sample) - 1] == SEP
        assert (inputs[row, len(sample) :] == PAD).all()
        whole = torch.where(masked[row], labels[row], inputs[row])
        assert whole[: len(sample)].tolist() == sample.tolist()


def test_a_masked_run_is_at_least_k_long() -> None:
    torch.manual_seed(1)
    ids = kmer_ids(np.random.default_rng(1).integers(4, size=50_000, dtype=np.uint8), 6)
    [sample] = tokenized_samples(ids, 1, seed=3)
    masked = (padded_batch([sample], 6, 0.01)[1][0] != -100).int()
    runs = (
        torch.diff(masked, prepend=torch.zeros(1), append=torch.zeros(1)).nonzero().flatten().reshape(-1, 2)
    )
    inside = [run for run in runs.tolist() if run[0] > 1 and run[1] < len(sample) - 1]
    assert inside
    assert all(end - start >= 6 for start, end in inside)
