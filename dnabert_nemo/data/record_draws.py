"""The samples of one record, from a generator of its own: what `streaming` draws in passing.

Lengths, strands and masks as those of `sampling`, over a record's stretches instead of a whole set's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dnabert_nemo.data.sampling import MIN_TOKENS, SAMPLE, LengthMix, _below

_WORDS = 4  # that a sample takes: a tick of the counter


def draw_samples(
    tokens: npt.NDArray[np.int64],
    ratios: npt.NDArray[np.float64],
    max_tokens: int,
    words: np.random.Philox,
    length_mix: LengthMix = "dnabert",
    *,
    reverse_complement: bool = False,
) -> npt.NDArray[np.void]:
    """Draw about as many samples from a record as its tokens make full ones: SAMPLE [n], `stretch` within it.

    The tokens of all stretches, end to end, are cut into n even parts, and each part gives one sample: an
    epoch misses no part of a record. What the tokens are over a whole number of samples makes one more, as
    often as it is a share of one, so that every token of a set is as likely as any other of its component.

    Args:
        tokens: [m] k-mer tokens of each stretch, at least one each.
        ratios: [m] how much more often a stretch is to be read than by its tokens; 1 without a mixture.
        max_tokens: k-mer tokens of a full sample.
        words: the generator of this record in this epoch.
    """
    ends = np.cumsum(tokens * ratios)
    chance = _unit(words.random_raw(_WORDS)[:1])
    n = int(ends[-1] / max_tokens + chance[0])
    length_word, place_word, strand_word, mask_key = words.random_raw(n * _WORDS).reshape(n, _WORDS).T

    place = (np.arange(n) + _unit(place_word)) * (ends[-1] / max(n, 1))
    stretch = np.minimum(np.searchsorted(ends, place, side="right"), len(tokens) - 1)
    available = tokens[stretch]
    length = np.full(n, max_tokens, dtype=np.int64)
    if length_mix == "dnabert":
        full = _below(5, length_word << np.uint64(32)) == 0
        shorter = MIN_TOKENS + _below(max_tokens - MIN_TOKENS + 1, length_word)
        length = np.where(full, length, shorter)
    length = np.minimum(length, available)
    share = 1 - (ends[stretch] - place) / (available * ratios[stretch])  # of the stretch that lies before it
    start = (share * (available - length + 1)).astype(np.int64)

    samples = np.empty(n, dtype=SAMPLE)
    samples["stretch"] = stretch
    samples["start"] = np.clip(start, 0, available - length)  # a share can round to 1
    samples["length"] = length
    samples["reverse"] = (strand_word >> np.uint64(63) == 1) if reverse_complement else False
    samples["mask_key"] = mask_key
    return samples


def _unit(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Scale the upper 53 bits of each word to [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
