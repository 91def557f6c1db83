"""The baselines of a splice report: each learns from the training windows, and tells of those reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.command import listed
from dnabert_nemo.downstream.learned_baselines import (
    Baseline,
    KmerLogistic,
    Labelled,
    OneHotLogistic,
    PairLogistic,
    PositionWeights,
)
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, SpliceSplit
from dnabert_nemo.errors import ConfigError

NEAR_SITE = 40  # bases of the weight matrix: exon and intron ends, tract and branch point
AROUND = 80  # bases of the regression on which base stands where
PAIRED = 40  # of the one on pairs of bases
COUNTED = 6  # bases of the k-mers that the other one counts

_LEARNED_FROM = ("train", "validation")

_log = logging.getLogger(__name__)


def _cnn(window: int) -> Baseline:
    from dnabert_nemo.downstream.cnn_baseline import ConvolutionalNetwork  # here, as it brings torch

    return ConvolutionalNetwork()


BASELINES: dict[str, Callable[[int], Baseline]] = {  # by the bases of a window
    "weights": lambda window: PositionWeights(min(window, NEAR_SITE)),
    "one_hot": lambda window: OneHotLogistic(min(window, AROUND)),
    "pairs": lambda window: PairLogistic(min(window, PAIRED)),
    "kmers": lambda window: KmerLogistic(min(window, COUNTED)),
    "cnn": _cnn,
}


def asked_baselines(names: object, known: Collection[str] = BASELINES) -> list[str]:
    """Read the config's `baselines`: a list of those known, or one, or null for none; in our order.

    Raises:
        ConfigError: one is not known.
    """
    asked = listed(names) or ()
    for name in asked:
        if name not in known:
            raise ConfigError(f"baselines: {name!r} is not known: choose from {', '.join(known)}, or null")
    return [name for name in known if name in asked]


def baseline_probabilities(
    dataset: SpliceDataset, windows: SpliceSplit, names: Sequence[str], *, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Train baselines on a data set, and return the probabilities [n, 3] they give `windows`, by their names.

    Raises:
        ConfigError: there are no validation windows to choose by.
    """
    found = trained_baselines(dataset, names, seed=seed)
    return {baseline.name: baseline.probabilities(windows.sequences) for baseline in found}


def trained_baselines(dataset: SpliceDataset, names: Sequence[str], *, seed: int) -> Iterator[Baseline]:
    """Train baselines on a data set, one at a time.

    Raises:
        ConfigError: there are no validation windows to choose by.
    """
    if not names:
        return
    if not len(dataset.splits["validation"]):
        raise ConfigError(
            f"dataset_path={dataset.path} has no validation windows, by which baselines are chosen: prepare "
            "it with some, or pass baselines=null"
        )
    train, validation = (
        Labelled(dataset.splits[name].sequences, dataset.splits[name].labels) for name in _LEARNED_FROM
    )
    yield from trained((BASELINES[name](dataset.window) for name in names), train, validation, seed)


def learned_probabilities(
    baselines: Iterable[Baseline],
    train: Labelled,
    validation: Labelled,
    sequences: Sequence[str],
    *,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Train baselines, and return the probabilities [n, C] they give n sequences, by their names."""
    return {each.name: each.probabilities(sequences) for each in trained(baselines, train, validation, seed)}


def trained(
    baselines: Iterable[Baseline], train: Labelled, validation: Labelled, seed: int
) -> Iterator[Baseline]:
    """Train baselines, one at a time."""
    for baseline in baselines:
        began = time.perf_counter()
        baseline.fit(train, validation, seed)
        _log.info("%s: trained in %.0f s", baseline.name, time.perf_counter() - began)
        yield baseline
