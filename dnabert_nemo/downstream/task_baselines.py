"""The baselines of a task's report: each learns from the task's training sequences; before `task_report`.

n sequences, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.baselines_of_report import learned_probabilities
from dnabert_nemo.downstream.learned_baselines import Baseline, KmerLogistic, Labelled, OneHotLogistic
from dnabert_nemo.downstream.task_dataset import TaskDataset, TaskSplit

COUNTED = 6  # bases of the k-mers that are counted
PLACES = 200  # bases in the middle of which the one-hot regression sees the places
MAJORITY_ROW = "majority class, no model"


class MajorityClass:
    """How frequent each class is in training, whatever the sequence."""

    name = MAJORITY_ROW

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Count classes; nothing is chosen or drawn."""
        self._shares = np.bincount(train.labels) / len(train)

    def probabilities(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        return np.tile(self._shares, (len(sequences), 1))


class Centred:
    """A baseline for sequences of one length, given any: cut to the longest of training or filled up.

    Middles stand in the middle; what is filled up is no base.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.name, self._baseline = baseline.name, baseline

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Learn as the baseline does."""
        self._length = max(map(len, train.sequences))
        alike = [Labelled(self._alike(part.sequences), part.labels) for part in (train, validation)]
        self._baseline.fit(*alike, seed)

    def probabilities(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        return self._baseline.probabilities(self._alike(sequences))

    def _alike(self, sequences: Sequence[str]) -> list[str]:
        starts = [max(0, (len(sequence) - self._length) // 2) for sequence in sequences]
        return [
            sequence[start : start + self._length].center(self._length, "N")
            for start, sequence in zip(starts, sequences, strict=True)
        ]


def _cnn(lengths: set[int]) -> Baseline:
    from dnabert_nemo.downstream.cnn_baseline import ConvolutionalNetwork  # here, as it brings torch

    return ConvolutionalNetwork() if len(lengths) == 1 else Centred(ConvolutionalNetwork())


def _one_hot(lengths: set[int]) -> Baseline | None:
    return OneHotLogistic(min(*lengths, PLACES)) if len(lengths) == 1 else None


BASELINES: dict[str, Callable[[set[int]], Baseline | None]] = {  # by the lengths there are; None: cannot be
    "kmers": lambda lengths: KmerLogistic(min(*lengths, COUNTED)),
    "one_hot": _one_hot,
    "cnn": _cnn,
}


def task_probabilities(
    dataset: TaskDataset, part: TaskSplit, names: Sequence[str], *, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Train baselines on a task, and return the probabilities [n, C] they give `part`, by their names.

    The majority class is always the last of them. Where sequences are not of one length, no baseline is made
    of which base stands where.
    """
    lengths = {len(sequence) for split in dataset.splits.values() for sequence in split.sequences}
    made = [BASELINES[name](lengths) for name in names]
    train, validation = (
        Labelled(dataset.splits[name].sequences, dataset.splits[name].labels)
        for name in ("train", "validation")
    )
    baselines = [baseline for baseline in made if baseline is not None]
    return learned_probabilities([*baselines, MajorityClass()], train, validation, part.sequences, seed=seed)
