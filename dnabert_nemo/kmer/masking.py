"""DNABERT's masking of a sample's k-mers, and the bases it truly hides; comes before `data`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.kmer.ids import base_table
from dnabert_nemo.kmer.vocabulary import MASK, NUM_SPECIALS, check_k

IGNORED = -100  # the label of a token that is not predicted; torch's cross-entropy skips it by default


def default_centre_probability(k: int) -> float:
    """Return the chance of a centre that masks about 15 % of tokens; DNABERT's own 0.025 at k = 6."""
    return 0.15 / k


def mask_kmers(
    ids: NDArray[np.integer], k: int, probability: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mask the k-mer ids [n] of one sample: (inputs, labels), int64 [n], labels `IGNORED` where not masked.

    DNABERT's rule: each token is a centre with `probability`; a centre masks the k tokens around it, from
    (k - 1) // 2 before to k // 2 after, clipped to the sample; a masked token becomes [MASK] at 80 %, a
    random k-mer at 10 %, and stays at 10 %. `ids` holds no specials, and none is drawn as a replacement.
    Always takes 3 n doubles from `rng`, in one draw.

    Raises:
        ValueError: k is not in 1..7.
    """
    check_k(k)
    centre, action, replacement = rng.random((3, len(ids)))
    # A token is masked when a centre is among the k tokens from k // 2 before it to (k - 1) // 2 after it.
    centres_near = np.convolve(centre < probability, np.ones(k))[(k - 1) // 2 :][: len(ids)]
    masked = centres_near > 0.5
    inputs = ids.astype(np.int64)
    labels = np.where(masked, inputs, IGNORED)
    is_random = masked & (action >= 0.9)
    inputs[masked & (action < 0.8)] = MASK
    inputs[is_random] = NUM_SPECIALS + (replacement[is_random] * 4**k).astype(np.int64)
    return inputs, labels


@dataclass(frozen=True)
class HiddenBases:
    """The m bases of a sample that its inputs do not show, and the token asked to predict each."""

    token: NDArray[np.int64]  # [m] index in the sample of the middle token that covers the base
    offset: NDArray[np.int64]  # [m] place of the base in that token's k-mer, 0..k-1
    base: NDArray[np.int64]  # [m] the true code of the base


def hidden_bases(inputs: NDArray[np.integer], ids: NDArray[np.integer], k: int) -> HiddenBases:
    """Find the bases of a sample, inputs [n], that no visible k-mer shows: all tokens over them are [MASK].

    Base b of the n + k - 1 is covered by the tokens max(0, b - k + 1) .. min(n - 1, b); the prediction of
    their middle one, summed over the k-mers with a given base at `offset`, is the model's word on b. `ids`
    [n] holds the true ids at least where a token is masked: the ids before masking, or the labels.

    Raises:
        ValueError: k is not in 1..7.
    """
    table = base_table(k)
    num_tokens = len(inputs)
    base = np.arange(num_tokens + k - 1)
    first, last = np.maximum(base - k + 1, 0), np.minimum(base, num_tokens - 1)
    masks_before = np.concatenate([[0], np.cumsum(inputs == MASK)])
    base = base[masks_before[last + 1] - masks_before[first] == last + 1 - first]
    token = (np.maximum(base - k + 1, 0) + np.minimum(base, num_tokens - 1) + 1) // 2
    offset = base - token
    return HiddenBases(token, offset, table[ids[token], offset].astype(np.int64))
