"""Which k-mers of a batch of samples are hidden from the model, and what it sees instead; before `data`.

Shapes: N k-mer tokens of all samples, end to end; S samples; M tokens to predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.ids import base_table, kmer_ids
from dnabert_nemo.kmer.vocabulary import MASK, NUM_SPECIALS, check_k
from dnabert_nemo.kmer.words import Words, words_at

MaskName = Literal["dnabert", "bases", "random"]
MASK_NAMES: tuple[MaskName, ...] = ("dnabert", "bases", "random")

_TOKENS_MASKED = 0.15  # about; runs that overlap make it a little less
_MEAN_BASES = 3.8  # of the law below
_GEOMETRIC, _MOST_BASES = 0.2, 10  # bases of a hidden span: SpanBERT's lengths (Joshi et al. 2020)

# Of each 64-bit word: what it is compared with, from its lowest bit on.
_CENTRE_BITS, _ACTION_BITS, _VALUE_BITS = 24, 16, 24
_REACH = 1 << 32  # counters from here on say how far a centre reaches, those below are of tokens
_SHOWN_AS_MASK = int(0.8 * (1 << _ACTION_BITS))
_SHOWN_AS_RANDOM = int(0.9 * (1 << _ACTION_BITS))  # from here on; between the two a token stays as it is


@dataclass(frozen=True)
class MaskRule:
    """How tokens are chosen and hidden.

    "dnabert", as published: each token is a centre with `probability`, and masks the k tokens around it, from
    (k - 1) // 2 before to k // 2 after. Of k tokens next to visible ones all but one base can be copied.

    "bases" hides runs of bases for good: each token begins a run with `probability`, of m bases (geometric
    with 0.2, at most 10), and the m + k - 1 tokens over them are masked.

    "random": a centre masks k tokens as above, and from 0 to k more on either side, drawn uniformly.

    A masked token is shown as [MASK] at 80 %, as a random k-mer at 10 %, and as it is at 10 %; with "bases"
    that is drawn once for a run, for one token left as it is would show the bases of its neighbours, and
    random bases are put in place of the hidden ones. With `all_mask` it is always [MASK].

    Raises:
        ConfigError: the name is not known, or the probability is none.
    """

    k: int
    name: MaskName = "dnabert"
    probability: float | None = None  # of a centre or start; None: about 15 % of tokens are masked
    all_mask: bool = False

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.name not in MASK_NAMES:
            raise ConfigError(
                f"model.data.mask.name={self.name} is not known: choose {', '.join(MASK_NAMES)}"
            )
        if not isinstance(self.all_mask, bool):
            raise ConfigError(f"model.data.mask.all_mask={self.all_mask}: give true or false")
        is_number = isinstance(self.chance, int | float) and not isinstance(self.chance, bool)
        if not is_number or not 0 < self.chance <= 1:
            raise ConfigError(
                f"model.data.mask.probability={self.probability} is not above 0 and up to 1: null masks "
                f"about 15 % of tokens, with {_TOKENS_MASKED / self._mean_tokens:.3g}"
            )

    @property
    def chance(self) -> float:
        """The chance that a token is a centre or a start; DNABERT's own 0.025 at k = 6 by default."""
        return _TOKENS_MASKED / self._mean_tokens if self.probability is None else self.probability

    @property
    def share(self) -> float:
        """The share of tokens that are masked, about, where runs overlap too."""
        passed_by: float = (1 - self.chance) ** self._mean_tokens
        return 1 - passed_by

    @property
    def _mean_tokens(self) -> float:
        """Tokens that one centre or start masks, on average."""
        return {"dnabert": self.k, "bases": self.k - 1 + _MEAN_BASES, "random": 2 * self.k}[self.name]


@dataclass(frozen=True, eq=False)
class MaskedKmers:
    """Samples as the model sees them, and what it is to predict."""

    inputs: NDArray[np.int64]  # [N]
    at: NDArray[np.int64]  # [M] where in N a token is to be predicted, ascending


def mask_kmers(
    ids: NDArray[np.integer], lengths: NDArray[np.int64], keys: Words, rule: MaskRule
) -> MaskedKmers:
    """Mask the k-mer ids [N] of samples that lie end to end.

    UNK is never masked and never drawn as a replacement. What is drawn for a sample depends on its key and
    its ids alone, not on the samples around it.

    Args:
        lengths: [S] tokens of each sample, summing to N.
        keys: [S] of the generator of each sample.
    """
    first = np.cumsum(lengths) - lengths
    place = np.arange(len(ids)) - np.repeat(first, lengths)  # in its sample
    left = np.repeat(lengths, lengths) - 1 - place  # tokens after it in its sample
    key = np.repeat(keys, lengths)
    words = words_at(key, place)
    is_kmer = ids >= NUM_SPECIALS
    is_centre = (words & np.uint64((1 << _CENTRE_BITS) - 1)) < np.uint64(rule.chance * (1 << _CENTRE_BITS))
    centres = np.flatnonzero(is_centre & is_kmer)

    before, after = _reach(words_at(key[centres], place[centres] + _REACH), rule)
    change = np.zeros(len(ids) + 1, dtype=np.int64)
    np.add.at(change, centres - np.minimum(before, place[centres]), 1)
    np.add.at(change, centres + np.minimum(after, left[centres]) + 1, -1)
    is_masked = (np.cumsum(change[:-1]) > 0) & is_kmer

    at = np.flatnonzero(is_masked)
    inputs = ids.astype(np.int64)
    if rule.all_mask:
        inputs[at] = MASK
        return MaskedKmers(inputs, at)
    value = words >> np.uint64(_CENTRE_BITS + _ACTION_BITS)
    action = (words >> np.uint64(_CENTRE_BITS)) & np.uint64((1 << _ACTION_BITS) - 1)
    if rule.name == "bases":
        _show_runs(inputs, at, place, action, value, rule.k)
    else:
        inputs[at[action[at] < _SHOWN_AS_MASK]] = MASK
        random = at[action[at] >= _SHOWN_AS_RANDOM]
        inputs[random] = NUM_SPECIALS + (value[random] & np.uint64(4**rule.k - 1)).astype(np.int64)
    return MaskedKmers(inputs, at)


def _reach(words: Words, rule: MaskRule) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many tokens before and after each centre, or start, are masked with it."""
    k = rule.k
    value = (words >> np.uint64(64 - _VALUE_BITS)).astype(np.int64)
    if rule.name == "bases":
        least = (1 - _GEOMETRIC) ** _MOST_BASES
        share = least + (1 - least) * (value + 0.5) / (1 << _VALUE_BITS)
        bases = 1 + np.floor(np.log(share) / np.log(1 - _GEOMETRIC)).astype(np.int64)
        return np.zeros(len(words), dtype=np.int64), bases + k - 2
    before, after = np.full(len(words), (k - 1) // 2), np.full(len(words), k // 2)
    if rule.name == "random":
        before += value % (k + 1)
        after += value // (k + 1) % (k + 1)
    return before, after


def _show_runs(
    inputs: NDArray[np.int64],
    at: NDArray[np.int64],
    place: NDArray[np.int64],
    action: Words,
    value: Words,
    k: int,
) -> None:
    """Decide for each run of masked tokens as a whole, by the word of its first token."""
    if not len(at):
        return
    is_first = np.concatenate([[True], (np.diff(at) > 1) | (place[at[1:]] == 0)])
    begins = np.flatnonzero(is_first)
    run_lengths = np.diff(np.append(begins, len(at)))
    run_action = action[at[begins]]
    inputs[at[np.repeat(run_action, run_lengths) < _SHOWN_AS_MASK]] = MASK
    table = base_table(k)
    is_random = run_action >= _SHOWN_AS_RANDOM
    for first, num_tokens in zip(
        at[begins[is_random]].tolist(), run_lengths[is_random].tolist(), strict=True
    ):
        own = inputs[first : first + num_tokens]
        codes = np.concatenate([table[own[:, None], 0].ravel(), table[own[-1], 1:]])
        # the bases that only tokens of the run cover
        hidden = codes[k - 1 : num_tokens]
        hidden[:] = value[first : first + len(hidden)] & np.uint64(3)
        own[:] = kmer_ids(codes, k)


@dataclass(frozen=True)
class HiddenBases:
    """The bases that the inputs do not show, and the token asked to predict each."""

    token: NDArray[np.int64]  # [H] where in N the middle token is that covers the base
    offset: NDArray[np.int64]  # [H] place of the base in that token's k-mer, 0..k-1
    base: NDArray[np.int64]  # [H] the true code of the base


def hidden_bases(
    inputs: NDArray[np.integer], ids: NDArray[np.integer], lengths: NDArray[np.int64], k: int
) -> HiddenBases:
    """Find the bases of samples, inputs [N], that no visible k-mer shows: all tokens over them are [MASK].

    Base b of a sample's n + k - 1 is covered by its tokens max(0, b - k + 1) .. min(n - 1, b); the prediction
    of their middle one, summed over the k-mers with a given base at `offset`, is the model's word on b.

    Args:
        ids: [N] the true ids.
        lengths: [S] tokens of each sample, summing to N.
    """
    is_mask = inputs == MASK
    first_token = np.cumsum(lengths) - lengths
    bases = lengths + k - 1
    sample = np.repeat(np.arange(len(lengths)), bases)
    base = np.arange(len(sample)) - np.repeat(np.cumsum(bases) - bases, bases)  # in its sample
    start = first_token[sample]
    first = start + np.maximum(base - k + 1, 0)
    last = start + np.minimum(base, lengths[sample] - 1)
    masks_before = np.concatenate([[0], np.cumsum(is_mask)])
    hidden = np.flatnonzero(masks_before[last + 1] - masks_before[first] == last + 1 - first)
    token = (first[hidden] + last[hidden] + 1) // 2
    offset = base[hidden] + start[hidden] - token
    code = base_table(k)[ids[token], offset].astype(np.int64)
    return HiddenBases(token, offset, code)
