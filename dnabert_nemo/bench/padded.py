"""How the original DNABERT makes a batch, in our own words: masked sample by sample, padded to 512."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnabert_nemo.data.sampling import MIN_TOKENS
from dnabert_nemo.kmer.vocabulary import CLS, MASK, NUM_SPECIALS, PAD, SEP

POSITIONS = 512
_FULL = POSITIONS - 2
AROUND = {3: (-1, 1), 4: (-1, 1, 2), 5: (-2, -1, 1, 2), 6: (-2, -1, 1, 2, 3)}  # of a centre
_IGNORED = -100


def tokenized_samples(ids: NDArray[np.integer], num_samples: int, seed: int) -> list[Tensor]:
    """Cut ids into samples of DNABERT's lengths, one in five full, each CLS, k-mers, SEP: int64 [<= 512].

    They begin anywhere; DNABERT too has its ids in memory before training starts.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(num_samples):
        length = _FULL if rng.random() < 0.2 else int(rng.integers(MIN_TOKENS, _FULL + 1))
        first = int(rng.integers(len(ids) - length + 1))
        samples.append(torch.tensor([CLS, *ids[first : first + length].tolist(), SEP]))
    return samples


def padded_batch(samples: Sequence[Tensor], k: int, probability: float) -> tuple[Tensor, Tensor]:
    """Mask samples as DNABERT does, and pad them: inputs and labels, int64 [num_samples, 512].

    The centres of each sample are turned into the masked tokens by a Python loop over them.
    """
    inputs = torch.full((len(samples), POSITIONS), PAD)
    for row, sample in enumerate(samples):
        inputs[row, : len(sample)] = sample
    labels = inputs.clone()
    is_kmer = inputs >= NUM_SPECIALS
    is_masked = torch.bernoulli(torch.full(labels.shape, probability) * is_kmer).bool()
    for row, sample in enumerate(samples):
        last = len(sample) - 2
        centres = torch.where(is_masked[row])[0].tolist()
        masked = set(centres)
        for centre in centres:
            for offset in AROUND[k]:
                if 1 <= centre + offset <= last:
                    masked.add(centre + offset)
        is_masked[row, list(masked)] = True
    labels[~is_masked] = _IGNORED
    is_replaced = torch.bernoulli(torch.full(labels.shape, 0.8)).bool() & is_masked
    inputs[is_replaced] = MASK
    is_random = torch.bernoulli(torch.full(labels.shape, 0.5)).bool() & is_masked & ~is_replaced
    random = torch.randint(NUM_SPECIALS + 4**k, labels.shape)
    inputs[is_random] = random[is_random]
    return inputs, labels
