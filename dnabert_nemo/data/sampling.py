"""The sampling plan: sample number i of a shard set as a pure function of (seed, i).

Before it: the k-mer tokens of every unbroken stretch. After it: the packer. No state: workers start anywhere.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnabert_nemo.data.permutation import NUM_ROUNDS, Words, permuted

MIN_TOKENS = 5  # the shortest sample DNABERT cuts, in k-mers

SAMPLE = np.dtype(
    [
        ("stretch", np.int64),  # which unbroken stretch of the set
        ("start", np.int64),  # first token within the stretch
        ("length", np.int64),  # k-mer tokens, without CLS and SEP
        ("reverse", np.bool_),  # read from the reverse strand
        ("mask_key", np.uint64),  # key of the generator that masks the sample
    ]
)

LengthMix = Literal["dnabert", "full"]


class Split(IntEnum):
    """What a plan is for; plans of one seed and different splits draw from unrelated streams."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


class _Stream(IntEnum):
    SAMPLES = 1
    EPOCHS = 2


_WORDS_PER_TICK = 4  # uint64 words Philox yields per tick of its counter
_TICKS_PER_EPOCH = 2  # words for NUM_ROUNDS keys and the shift


class SamplingPlan:
    """A grid of windows over all stretches, visited in a new order and at a new shift each epoch.

    Args:
        stretch_tokens: [m] k-mer tokens of every unbroken stretch, at least one of them not empty.
        max_tokens: k-mer tokens of a full sample (510 where 512 positions hold CLS and SEP too), at least 5.
        seed: 0 <= seed < 2**64.
        length_mix: "dnabert": one sample in five is full, the others uniform in 5..max_tokens; "full": all
            are full. A sample is never longer than its stretch.
        reverse_complement: read half of the samples from the reverse strand; DNABERT reads the forward one.
        split: keeps the draws of a validation or test set apart from the training set's.
    """

    def __init__(
        self,
        stretch_tokens: npt.NDArray[np.int64],
        max_tokens: int,
        seed: int,
        length_mix: LengthMix = "dnabert",
        *,
        reverse_complement: bool = False,
        split: Split = Split.TRAIN,
    ) -> None:
        self.stretch_tokens = np.asarray(stretch_tokens, dtype=np.int64)
        self.max_tokens = max_tokens
        self.seed = seed
        self.length_mix = length_mix
        self.reverse_complement = reverse_complement
        self.split = split
        windows = -(-self.stretch_tokens // max_tokens)  # an empty stretch has none
        self._first_window = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(windows)])

    @property
    def num_windows(self) -> int:
        """The samples of one epoch: windows of max_tokens in the grid."""
        return int(self._first_window[-1])

    def samples(self, first: int, count: int) -> npt.NDArray[np.void]:
        """Return samples first, ..., first + count - 1 as a structured array [count] of dtype SAMPLE."""
        length_word, place_word, strand_word, mask_key = self._words(_Stream.SAMPLES, first, count).T
        stretch, place = self._windows(first, count)
        tokens = self.stretch_tokens[stretch]

        length = np.full(count, self.max_tokens, dtype=np.int64)
        if self.length_mix == "dnabert":
            full = _below(5, length_word << np.uint64(32)) == 0
            shorter = MIN_TOKENS + _below(self.max_tokens - MIN_TOKENS + 1, length_word)
            length = np.where(full, length, shorter)
        length = np.minimum(length, tokens)
        place = place + _below(self.max_tokens - length + 1, place_word)

        samples = np.empty(count, dtype=SAMPLE)
        samples["stretch"] = stretch
        samples["start"] = place % (tokens - length + 1)
        samples["length"] = length
        samples["reverse"] = (strand_word >> np.uint64(63) == 1) if self.reverse_complement else False
        samples["mask_key"] = mask_key
        return samples

    def _windows(self, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the stretch [count] and the window's first token, the epoch's shift included, [count]."""
        n = self.num_windows
        epoch, turn = np.divmod(np.arange(first, first + count, dtype=np.int64), n)
        first_epoch, last_epoch = first // n, (first + max(count, 1) - 1) // n
        num_epochs = last_epoch - first_epoch + 1
        words = self._words(_Stream.EPOCHS, first_epoch * _TICKS_PER_EPOCH, num_epochs * _TICKS_PER_EPOCH)
        words = words.reshape(num_epochs, _TICKS_PER_EPOCH * _WORDS_PER_TICK)
        shift = _below(self.max_tokens, words[:, NUM_ROUNDS])

        window = permuted(turn, n, words[epoch - first_epoch, :NUM_ROUNDS])
        stretch = np.searchsorted(self._first_window, window, side="right") - 1
        base = (window - self._first_window[stretch]) * self.max_tokens
        return stretch, base + shift[epoch - first_epoch]

    def _words(self, stream: _Stream, first_tick: int, num_ticks: int) -> Words:
        """Return the words [num_ticks, 4] that the counters first_tick, first_tick + 1, ... yield."""
        # The second key word is never zero, so no mask key (a key of one word) can name one of these streams.
        key = np.array([self.seed, 256 * self.split + stream], dtype=np.uint64)
        words: Words = np.random.Philox(key=key, counter=first_tick).random_raw(num_ticks * _WORDS_PER_TICK)
        return words.reshape(num_ticks, _WORDS_PER_TICK)


def _below(bound: int | npt.NDArray[np.int64], words: Words) -> npt.NDArray[np.int64]:
    """Scale the upper 32 bits of each word to 0..bound-1 by multiplication (Lemire 2019)."""
    scaled = (words >> np.uint64(32)) * np.asarray(bound, dtype=np.uint64)
    return (scaled >> np.uint64(32)).astype(np.int64)
