"""Samples to a micro-batch: read, flip, mask, lay end to end; the packer comes before it, the model after.

Shapes as in `batch`: T tokens, S segments, M masked tokens, J hidden bases; N k-mers of all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from dnabert_nemo.data.batch import MicroBatch, positions_in
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.errors import ShardError
from dnabert_nemo.kmer.ids import first_break, reverse_complement_table
from dnabert_nemo.kmer.masking import hidden_bases, mask_kmers
from dnabert_nemo.kmer.vocabulary import CLS, PAD, SEP
from dnabert_nemo.kmer.words import words_at
from dnabert_nemo.shards.contents import REMEDY

_SOFT_COUNTER = 1 << 33  # of the words that decide on soft-masked tokens; those below are the mask's


class Shards(Protocol):
    """What samples are read from: a `ShardSet`, several, or what was streamed of one."""

    def read(self, stretch: int, first: int, count: int) -> npt.NDArray[np.uint16]: ...
    def read_soft_mask(self, stretch: int, first: int, count: int) -> npt.NDArray[np.bool_]: ...
    def where(self, stretch: int) -> str: ...


def masked_micro_batch(
    rows: Sequence[npt.NDArray[np.void]], shards: Shards, masking: Masking, shape: StepShape
) -> MicroBatch:
    """Build the micro-batch of some rows, each a structured array of samples (dtype SAMPLE) that fit it.

    Every sample is CLS, its k-mers, masked by its own key, SEP. What is left of a row is PAD, in segments of
    at most max_positions.
    """
    k = masking.rule.k
    samples = np.concatenate(rows)
    lengths = samples["length"]
    ids = _read(samples, shards, k)
    masked = mask_kmers(ids, lengths, samples["mask_key"], masking.rule)
    at = masked.at
    if masking.soft_masked_weight < 1:
        at = at[_counts(at, samples, shards, k, masking.soft_masked_weight)]
    is_target = np.zeros(len(ids), dtype=np.bool_)
    is_target[at] = True
    hidden = hidden_bases(masked.inputs, ids, lengths, k)
    asked = is_target[hidden.token]

    sample_at, segments = _layout(rows, shape)
    # Where the k-mers of each sample go: after its CLS.
    first = np.cumsum(lengths) - lengths
    place = np.arange(len(ids)) + np.repeat(sample_at + 1 - first, lengths)
    tokens = np.full(len(rows) * shape.tokens_per_row, PAD, dtype=np.int64)
    tokens[sample_at] = CLS
    tokens[place] = masked.inputs
    tokens[sample_at + lengths + 1] = SEP
    return MicroBatch(
        ids=torch.from_numpy(tokens),
        positions=positions_in(segments),
        segment_lengths=tuple(segments),
        masked_at=torch.from_numpy(place[at]),
        labels=torch.from_numpy(ids[at].astype(np.int64)),
        hidden_token=torch.from_numpy(np.searchsorted(at, hidden.token[asked])),
        hidden_offset=torch.from_numpy(hidden.offset[asked]),
        hidden_base=torch.from_numpy(hidden.base[asked]),
        num_tokens=int(lengths.sum()) + NUM_ENDS * len(samples),
        num_samples=len(samples),
    )


def _read(samples: npt.NDArray[np.void], shards: Shards, k: int) -> npt.NDArray[np.uint16]:
    """Read the k-mers of all samples, those of the reverse strand turned round.

    Nearly every byte that changed on disk shows here: k-mers have to follow one another base by base.
    """
    ends = np.cumsum(samples["length"])
    begins = ends - samples["length"]
    ids = np.empty(int(samples["length"].sum()), dtype=np.uint16)
    plan = list(zip(begins.tolist(), ends.tolist(), samples.tolist(), strict=True))
    for begin, end, (stretch, start, length, *_) in plan:
        ids[begin:end] = shards.read(stretch, start, length)
    at = first_break(ids, begins, k)
    if at is not None:
        sample = int(np.searchsorted(ends, at, side="right"))
        stretch, start, *_ = samples[sample].tolist()
        raise ShardError(
            f"{shards.where(stretch)}: token {start + at - begins[sample]} of a stretch is no {k}-mer that "
            f"follows the one before it, so the file was changed: {REMEDY}"
        )
    reverse = reverse_complement_table(k)
    for begin, end, (_, _, _, is_reverse, _) in plan:
        if is_reverse:
            ids[begin:end] = reverse[ids[begin:end][::-1]]
    return ids


def _counts(
    at: npt.NDArray[np.int64], samples: npt.NDArray[np.void], shards: Shards, k: int, weight: float
) -> npt.NDArray[np.bool_]:
    """Tell which of the masked tokens [M] are to be predicted."""
    lengths = samples["length"]
    is_soft = np.empty(int(lengths.sum()), dtype=np.bool_)
    first = 0
    for stretch, start, length, is_reverse, _ in samples.tolist():
        bases = shards.read_soft_mask(stretch, start, length + k - 1)
        own = bases[::-1] if is_reverse else bases
        is_soft[first : first + length] = own[(k - 1) // 2 :][:length]
        first += length
    sample = np.repeat(np.arange(len(samples)), lengths)[at]
    place = at - (np.cumsum(lengths) - lengths)[sample]
    words = words_at(samples["mask_key"][sample], place + _SOFT_COUNTER)
    counts: npt.NDArray[np.bool_] = ~is_soft[at] | ((words >> np.uint64(11)) * 2.0**-53 < weight)
    return counts


def _layout(
    rows: Sequence[npt.NDArray[np.void]], shape: StepShape
) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Return where in T each sample begins, and the lengths of all segments."""
    begins = []
    segments: list[int] = []
    for row, samples in enumerate(rows):
        lengths = samples["length"] + NUM_ENDS
        ends = row * shape.tokens_per_row + np.cumsum(lengths)
        begins.append(ends - lengths)
        segments += lengths.tolist()
        segments += tail_segments(shape.tokens_per_row - int(lengths.sum()), shape.max_positions)
    return np.concatenate(begins), segments


def tail_segments(tail: int, max_positions: int) -> list[int]:
    """Cut what is left of a row into segments: as one it could have more positions than there are."""
    full, rest = divmod(tail, max_positions)
    return [max_positions] * full + [rest] * (rest > 0)
