"""Which sequences are in which split of a task, and which come twice; `prepare_task` calls it.

Two sequences are alike where their letters are the same, or one's are those of the other's other strand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import decode, encode, reverse_complement
from dnabert_nemo.shards.records import random_order
from dnabert_nemo.shards.splits import SPLITS

_STREAM = 130  # of random numbers, and those after it, one for each class


def strand_key(sequence: str) -> str:
    """Return the same for a sequence of ACGT and its reverse complement."""
    return min(sequence, decode(reverse_complement(encode(sequence))))


def draw_splits(
    keys: Sequence[str], labels: NDArray[np.int64], fractions: Mapping[str, float], seed: int
) -> NDArray[np.int64]:
    """Draw a place in SPLITS for each of n sequences, int64 [n], each class shared out by the fractions.

    Sequences of one key stay together, and count with the class of the first.

    Args:
        keys: [n], by `strand_key`.
        labels: class indices [n].
        fractions: of SPLITS, as parts of their sum; one that is left out, or 0, gets nothing.
    """
    groups: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        groups.setdefault(key, []).append(at)
    members = list(groups.values())
    label_of, size = labels[[group[0] for group in members]], np.array(list(map(len, members)))
    ends = np.cumsum([fractions.get(split, 0.0) for split in SPLITS])
    ends /= ends[-1]
    drawn = np.zeros(len(keys), dtype=np.int64)
    for label in np.unique(label_of).tolist():
        own = np.flatnonzero(label_of == label)
        own = own[random_order(len(own), seed, _STREAM + label)]
        middles = (np.cumsum(size[own]) - size[own] / 2) / size[own].sum()
        places = np.searchsorted(ends, middles, side="right").tolist()
        for group, place in zip(own.tolist(), places, strict=True):
            drawn[members[group]] = place
    return drawn


def several_labels(sequences: Sequence[str], labels: NDArray[np.int64]) -> set[str]:
    """Return the sequences that come with more than one label."""
    of: dict[str, int] = {}
    return {
        sequence
        for sequence, label in zip(sequences, labels.tolist(), strict=True)
        if of.setdefault(sequence, label) != label
    }


def count_duplicates(
    sequences: Sequence[str], keys: Sequence[str], labels: NDArray[np.int64], splits: NDArray[np.int64]
) -> dict[str, Any]:
    """Count what comes twice among n sequences: the manifest's `duplicates`.

    Returns:
        `within`: by split, sequences whose letters stand in it before. `across`: by pair of splits, different
        sequences that are in both; `across_other_strand`: those in one whose other strand is in the other.
        `several_labels`: different sequences with more than one label.
    """
    letters: list[set[str]] = [set() for _ in SPLITS]
    stranded: list[set[str]] = [set() for _ in SPLITS]
    total: Counter[int] = Counter(splits.tolist())
    for sequence, key, split in zip(sequences, keys, splits.tolist(), strict=True):
        letters[split].add(sequence)
        stranded[split].add(key)
    pairs = {f"{SPLITS[i]} and {SPLITS[j]}": (i, j) for i, j in combinations(range(len(SPLITS)), 2)}
    same = {name: letters[i] & letters[j] for name, (i, j) in pairs.items()}
    return {
        "within": {split: total[at] - len(letters[at]) for at, split in enumerate(SPLITS)},
        "across": {name: len(found) for name, found in same.items()},
        "across_other_strand": {
            name: len((stranded[i] & stranded[j]) - set(map(strand_key, same[name])))
            for name, (i, j) in pairs.items()
        },
        "several_labels": len(several_labels(sequences, labels)),
    }


def to_remove(
    sequences: Sequence[str], keys: Sequence[str], labels: NDArray[np.int64], splits: NDArray[np.int64]
) -> dict[str, NDArray[np.bool_]]:
    """Tell which of n sequences go so that none comes twice, by reason, bool [n] each.

    Those with several labels go altogether. Of sequences with the same letters the first stays, in test
    before validation before training; and one goes whose other strand is in a split before its own in that
    order.
    """
    doubtful = several_labels(sequences, labels)
    goes = {reason: np.zeros(len(sequences), dtype=bool) for reason in ("several_labels", "repeated")}
    seen: set[str] = set()
    split_of_key: dict[str, int] = {}
    for at in np.argsort(-splits, kind="stable").tolist():
        sequence, key, split = sequences[at], keys[at], int(splits[at])
        if sequence in doubtful:
            goes["several_labels"][at] = True
        elif sequence in seen or split_of_key.setdefault(key, split) != split:
            goes["repeated"][at] = True
        else:
            seen.add(sequence)
    return goes
