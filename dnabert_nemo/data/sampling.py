"""The sampling plan: sample number i of one or several shard sets as a pure function of (seed, i).

Before it: the k-mer tokens of every unbroken stretch. After it: the packer. No state: workers start anywhere.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dnabert_nemo.data.mixture import Mixture
from dnabert_nemo.data.permutation import NUM_ROUNDS, permuted
from dnabert_nemo.kmer.words import Words, words_at

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
LENGTH_MIXES: tuple[LengthMix, ...] = get_args(LengthMix)


class Split(IntEnum):
    """What a plan is for; plans of one seed and different splits draw from unrelated streams."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


class _Stream(IntEnum):
    SAMPLES = 1
    EPOCHS = 2


_WORDS_PER_TICK = 4  # uint64 words Philox yields per tick of its counter


class SamplingPlan:
    """A grid of windows over all stretches, visited in a new order and at a new shift each epoch.

    With components, each has a grid, an order and epochs of its own, and gets its share of the samples.

    Args:
        stretch_tokens: [m] k-mer tokens of every unbroken stretch, at least one of them not empty.
        max_tokens: k-mer tokens of a full sample (510 where 512 positions hold CLS and SEP too), at least 5.
        seed: 0 <= seed < 2**64.
        length_mix: "dnabert": one sample in five is full, the others uniform in 5..max_tokens; "full": all
            are full. A sample is never longer than its stretch.
        reverse_complement: read half of the samples from the reverse strand; DNABERT reads the forward one.
        split: keeps the draws of a validation or test set apart from the training set's.
        component: [m] which component each stretch is of, 0 .. c - 1; all are of one unless told.
        weights: [c] the share of the samples of each component; those without a token get none.
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
        component: npt.NDArray[np.integer] | None = None,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.stretch_tokens = np.asarray(stretch_tokens, dtype=np.int64)
        self.max_tokens = max_tokens
        self.seed = seed
        self.length_mix = length_mix
        self.reverse_complement = reverse_complement
        self.split = split
        windows = -(-self.stretch_tokens // max_tokens)  # an empty stretch has none
        # The windows of all components are numbered one after the other, each component's in one run.
        if component is None or weights is None:
            self._order = None
            self._num_windows = windows.sum(keepdims=True)  # [c]
        else:
            self._order = np.argsort(component, kind="stable")
            self._num_windows = np.bincount(component, windows, len(weights)).astype(np.int64)
            windows = windows[self._order]
        self._first_window = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(windows)])  # [m + 1]
        self._first_of_component = np.cumsum(self._num_windows) - self._num_windows
        self._present = np.flatnonzero(self._num_windows)
        self._mixture = None
        if weights is not None and len(self._present) > 1:
            self._mixture = Mixture(weights[self._present], seed)
        self._epochs_key = self._words(_Stream.EPOCHS, 0, 1)[0, 0]

    @property
    def num_windows(self) -> int:
        """Windows of max_tokens in all grids: the samples of one epoch, where there is one component."""
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
        # Scaled from the grid, which is longer than the stretch, to the starts there are: folded over, what
        # sticks out would make the first tokens of every stretch twice as frequent as the others.
        grid = -(-tokens // self.max_tokens) * self.max_tokens
        samples["start"] = place % grid * (tokens - length + 1) // grid
        samples["length"] = length
        samples["reverse"] = (strand_word >> np.uint64(63) == 1) if self.reverse_complement else False
        samples["mask_key"] = mask_key
        return samples

    def _windows(self, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the stretch [count] and the window's first token, the epoch's shift included, [count]."""
        turn = np.arange(first, first + count, dtype=np.int64)  # of the sample in its component
        part = np.zeros(count, dtype=np.int64)
        if self._mixture is not None:
            part, turn = self._mixture.at(turn)
        component = self._present[part]
        n = self._num_windows[component]
        epoch, turn = np.divmod(turn, n)
        key = words_at(words_at(self._epochs_key, component), epoch)
        words = words_at(key[:, None], np.arange(NUM_ROUNDS + 1))
        shift = _below(self.max_tokens, words[:, NUM_ROUNDS])

        window = self._first_of_component[component] + permuted(turn, n, words[:, :NUM_ROUNDS])
        place = np.searchsorted(self._first_window, window, side="right") - 1
        start = (window - self._first_window[place]) * self.max_tokens + shift
        return place if self._order is None else self._order[place], start

    def _words(self, stream: _Stream, first_tick: int, num_ticks: int) -> Words:
        """Return the words [num_ticks, 4] that the counters first_tick, first_tick + 1, ... yield."""
        key = np.array([self.seed, 256 * self.split + stream], dtype=np.uint64)
        words: Words = np.random.Philox(key=key, counter=first_tick).random_raw(num_ticks * _WORDS_PER_TICK)
        return words.reshape(num_ticks, _WORDS_PER_TICK)


def _below(bound: int | npt.NDArray[np.int64], words: Words) -> npt.NDArray[np.int64]:
    """Scale the upper 32 bits of each word to 0..bound-1 by multiplication (Lemire 2019)."""
    scaled = (words >> np.uint64(32)) * np.asarray(bound, dtype=np.uint64)
    return (scaled >> np.uint64(32)).astype(np.int64)
