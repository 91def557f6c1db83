"""Which of the candidate windows become the data set: each sequence once, labels balanced in every split.

`splice_windows` comes before it, `prepare` calls it.
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


def distinct_windows(
    places: NDArray[np.void], windows: Sequence[str], split_of: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], dict[str, Counter[int]]]:
    """Tell which of n windows to keep, bool [n], and count those that go, by reason and class index.

    Of equal sequences the first stays; all go where a donor's and an acceptor's window are the same. `places`
    is PLACE [n] with the sites before the negatives, `split_of` the place in SPLITS of each contig.
    """
    labels, splits = places["label"].tolist(), split_of[places["contig"]].tolist()
    labels_of: dict[str, set[int]] = {}
    for label, sequence in zip(labels, windows, strict=True):
        labels_of.setdefault(sequence, set()).add(label)
    dropped: dict[str, Counter[int]] = {
        reason: Counter()
        for reason in ("both_donor_and_acceptor", "duplicate_in_split", "duplicate_across_splits")
    }
    first_split: dict[str, int] = {}
    is_kept = np.zeros(len(places), dtype=bool)
    for i, (label, sequence) in enumerate(zip(labels, windows, strict=True)):
        if {DONOR, ACCEPTOR} <= labels_of[sequence]:
            dropped["both_donor_and_acceptor"][label] += 1
        elif sequence not in first_split:
            first_split[sequence] = splits[i]
            is_kept[i] = True
        else:
            where = "in_split" if first_split[sequence] == splits[i] else "across_splits"
            dropped[f"duplicate_{where}"][label] += 1
    return is_kept, dropped


def choose_balanced(
    places: NDArray[np.void],
    is_kept: NDArray[np.bool_],
    split_of: NDArray[np.int64],
    per_class: int,
    seed: int,
    stream: int,
) -> NDArray[np.int64]:
    """Choose equally many kept places of each label in every split, at most `per_class` of a label in all.

    Sites are drawn by (seed, stream and the eight after it); negatives come in random order and stay in it.
    Returns indices of `places`, sorted by what they point to: contig, start, strand and label.
    """
    splits = split_of[places["contig"]]
    members = [
        [
            np.flatnonzero(is_kept & (splits == split) & (places["label"] == label))
            for label in range(len(LABELS))
        ]
        for split in range(len(SPLITS))
    ]
    available = np.array([min(map(len, of_split)) for of_split in members])
    chosen = []
    for split, quota in enumerate(share_out(per_class, available)):
        for label, candidates in enumerate(members[split]):
            if label != NEGATIVE:
                order = random_order(len(candidates), seed, stream + len(LABELS) * split + label)
                candidates = candidates[order]
            chosen.append(candidates[:quota])
    joined = np.concatenate(chosen)
    keys = [places[key][joined] for key in ("label", "is_reverse", "start", "contig")]
    in_order: NDArray[np.int64] = joined[np.lexsort(keys)]
    return in_order


def share_out(most: int, available: NDArray[np.int64]) -> list[int]:
    """Share `most` out in proportion to `available`, by largest remainder; all of that if it is no more."""
    total = int(available.sum())
    quotas, remainders = np.divmod(min(most, total) * available, max(total, 1))
    quotas[np.argsort(-remainders, kind="stable")[: min(most, total) - quotas.sum()]] += 1
    return [int(quota) for quota in quotas]
