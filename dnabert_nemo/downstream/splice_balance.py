"""Which of the candidate windows become the data set: each sequence once, labels balanced in every part.

`candidates` comes before it, `prepare` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import LABELS
from dnabert_nemo.shards.records import random_order
from dnabert_nemo.shards.splits import SPLITS

DONOR, ACCEPTOR, NEGATIVE = range(len(LABELS))
ALONE = -1  # the partner of what has none
STREAMS_OF_GENOME = 1 << 16  # of random numbers, so that no genome draws as another does


def distinct_windows(
    labels: NDArray[np.int64], splits: NDArray[np.int64], windows: Sequence[str]
) -> tuple[NDArray[np.bool_], dict[str, Counter[int]]]:
    """Tell which of n windows to keep, bool [n], and count those that go, by reason and class index.

    Of equal sequences the first stays; all go where a donor's and an acceptor's window are the same. The
    sites come before the negatives; `labels` and `splits` are int64 [n], class indices and places in SPLITS.
    """
    labels_of: dict[str, set[int]] = {}
    for label, sequence in zip(labels.tolist(), windows, strict=True):
        labels_of.setdefault(sequence, set()).add(label)
    dropped: dict[str, Counter[int]] = {
        reason: Counter()
        for reason in ("both_donor_and_acceptor", "duplicate_in_split", "duplicate_across_splits")
    }
    first_split: dict[str, int] = {}
    is_kept = np.zeros(len(windows), dtype=bool)
    for i, (label, split, sequence) in enumerate(zip(labels.tolist(), splits.tolist(), windows, strict=True)):
        if {DONOR, ACCEPTOR} <= labels_of[sequence]:
            dropped["both_donor_and_acceptor"][label] += 1
        elif sequence not in first_split:
            first_split[sequence] = split
            is_kept[i] = True
        else:
            where = "in_split" if first_split[sequence] == split else "across_splits"
            dropped[f"duplicate_{where}"][label] += 1
    return is_kept, dropped


def choose_balanced(
    labels: NDArray[np.int64],
    splits: NDArray[np.int64],
    genomes: NDArray[np.int64],
    is_kept: NDArray[np.bool_],
    partner: NDArray[np.int64],
    per_class: int,
    seed: int,
    stream: int,
) -> NDArray[np.int64]:
    """Choose equally many kept windows of each label in every split of every genome, so that no genome tells
    of a label; at most `per_class` of a label in all.

    They are drawn by (seed, stream and the eight after it), of other genomes by streams of their own. Where
    sites have decoys, these are the negatives: each site that is chosen brings its own, and those without one
    are not chosen.

    Args:
        labels, splits, genomes, partner: int64 [n], as of `Candidates`.
        is_kept: bool [n].

    Returns:
        Indices, rising.
    """
    has_decoys = bool((partner != ALONE).any())
    if has_decoys:
        is_kept = is_kept & (partner != ALONE) & is_kept[partner]
    drawn = (DONOR, ACCEPTOR) if has_decoys else (DONOR, ACCEPTOR, NEGATIVE)
    parts = [(genome, split) for genome in range(int(genomes.max()) + 1) for split in range(len(SPLITS))]
    members = [
        [
            np.flatnonzero(is_kept & (genomes == genome) & (splits == split) & (labels == label))
            for label in drawn
        ]
        for genome, split in parts
    ]
    available = np.array([min(map(len, of_part)) for of_part in members])
    chosen = []
    for (genome, split), of_part, quota in zip(parts, members, share_out(per_class, available), strict=True):
        for label, candidates in zip(drawn, of_part, strict=True):
            number = stream + genome * STREAMS_OF_GENOME + len(LABELS) * split + label
            chosen.append(candidates[random_order(len(candidates), seed, number)][:quota])
            if has_decoys:
                chosen.append(partner[chosen[-1]])
    return np.sort(np.concatenate(chosen))


def share_out(most: int, available: NDArray[np.int64]) -> list[int]:
    """Share `most` out in proportion to `available`, by largest remainder; all of that if it is no more."""
    total = int(available.sum())
    quotas, remainders = np.divmod(min(most, total) * available, max(total, 1))
    quotas[np.argsort(-remainders, kind="stable")[: min(most, total) - quotas.sum()]] += 1
    return [int(quota) for quota in quotas]
