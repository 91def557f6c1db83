"""Samples to a micro-batch: read, flip, mask, lay end to end; the packer comes before it, the model after.

Shapes as in `batch`: T tokens, S segments, M masked tokens, J hidden bases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.kmer.ids import reverse_complement_table
from dnabert_nemo.kmer.masking import IGNORED, hidden_bases, mask_kmers
from dnabert_nemo.kmer.vocabulary import CLS, PAD, SEP
from dnabert_nemo.shards.reader import ShardSet

Ints = npt.NDArray[np.int64]


def masked_micro_batch(
    rows: Sequence[npt.NDArray[np.void]], shards: ShardSet, k: int, mask_probability: float, shape: StepShape
) -> MicroBatch:
    """Build the micro-batch of some rows, each a structured array of samples (dtype SAMPLE) that fit it.

    Every sample is CLS, its k-mers masked by a generator of its own, SEP. What is left of a row is PAD, in
    segments of at most max_positions.
    """
    reverse = reverse_complement_table(k)
    ids = np.full(len(rows) * shape.tokens_per_row, PAD, dtype=np.int64)
    lengths: list[int] = []
    # of each sample: places in T and true ids of its masked tokens, then its hidden bases as in `MicroBatch`
    masked_at, labels, token, offset, base = (list[Ints]() for _ in range(5))
    num_masked = 0
    for row, samples in enumerate(rows):
        at = row * shape.tokens_per_row
        for stretch, start, length, is_reverse, mask_key in samples.tolist():
            kmers = shards.read(stretch, start, length)
            if is_reverse:
                kmers = reverse[kmers[::-1]]
            rng = np.random.Generator(np.random.Philox(key=mask_key))
            inputs, true_ids = mask_kmers(kmers, k, mask_probability, rng)
            ids[at] = CLS
            ids[at + 1 : at + 1 + length] = inputs
            ids[at + 1 + length] = SEP

            masked = np.flatnonzero(true_ids != IGNORED)
            masked_at.append(at + 1 + masked)
            labels.append(true_ids[masked])
            hidden = hidden_bases(inputs, true_ids, k)
            token.append(num_masked + np.searchsorted(masked, hidden.token))
            offset.append(hidden.offset)
            base.append(hidden.base)
            num_masked += len(masked)
            lengths.append(length + NUM_ENDS)
            at += length + NUM_ENDS
        lengths += _tail_segments((row + 1) * shape.tokens_per_row - at, shape.max_positions)
    return MicroBatch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(_positions(lengths)),
        segment_lengths=tuple(lengths),
        masked_at=_joined(masked_at),
        labels=_joined(labels),
        hidden_token=_joined(token),
        hidden_offset=_joined(offset),
        hidden_base=_joined(base),
        num_tokens=sum(int(samples["length"].sum()) + NUM_ENDS * len(samples) for samples in rows),
        num_samples=sum(map(len, rows)),
    )


def _tail_segments(tail: int, max_positions: int) -> list[int]:
    # As one segment an empty row would have more positions than there are, and attention over their square.
    full, rest = divmod(tail, max_positions)
    return [max_positions] * full + [rest] * (rest > 0)


def _positions(lengths: list[int]) -> Ints:
    """Return 0, 1, ... in each segment, [T]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)


def _joined(parts: list[Ints]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
