"""The scores that classifiers, baselines and the rule of two bases give every position; after `scan`.

n positions, W bases of a window.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dnabert_nemo.downstream.baselines_of_report import trained_baselines
from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.report import RULE_ROW
from dnabert_nemo.downstream.scan import Locus
from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceDataset
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import decode, encode

if TYPE_CHECKING:
    from dnabert_nemo.model import DnabertClassifier

CHUNK = 4096  # windows at once
_SECONDS_BETWEEN_LINES = 60

# Codes [n, W] of windows to the probability of each class, [n, 3].
Score = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

_log = logging.getLogger(__name__)


def scanned(name: str, score: Score, loci: Sequence[Locus], width: int) -> NDArray[np.float32]:
    """Score all positions of the loci, in their order: float32 [n, 2], by SITE_LABELS.

    A score is the log-odds of the label, of which float32 tells more apart than of probabilities near one.
    """
    total, done = sum(map(len, loci)), 0
    scores = np.empty((total, len(SITE_LABELS)), dtype=np.float32)
    began = told = time.perf_counter()
    for locus in filter(len, loci):  # a gene at a contig's end may have no whole window
        windows = sliding_window_view(locus.codes, width)
        for first in range(0, len(locus), CHUNK):
            offsets = locus.offsets[first : first + CHUNK]
            scores[done : done + len(offsets)] = log_odds(score(windows[offsets]))
            done += len(offsets)
            if time.perf_counter() - told > _SECONDS_BETWEEN_LINES:
                told = time.perf_counter()
                _log.info("%s: %s of %s positions", name, f"{done:,}", f"{total:,}")
    seconds = time.perf_counter() - began
    _log.info("%s: %s positions in %.0f s", name, f"{total:,}", seconds)
    return scores


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the log-odds of each of SITE_LABELS against all else: float32 [n, 2] from [n, 3]."""
    found = probabilities.astype(np.float64)
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(found, tiny))
    # what is left is summed, as 1 - p would lose its digits near one
    others = [np.delete(found, LABELS.index(label), axis=1).sum(1) for label in SITE_LABELS]
    own = [logs[:, LABELS.index(label)] for label in SITE_LABELS]
    return (np.stack(own, 1) - np.log(np.maximum(np.stack(others, 1), tiny))).astype(np.float32)


def rule_probabilities(windows: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Call windows donor where their two middle bases are GT, acceptor where AG: [n, 3] of 0 and 1."""
    middle = windows[:, windows.shape[1] // 2 - 1 : windows.shape[1] // 2 + 1]
    calls = np.full(len(windows), LABELS.index("negative"))
    for label, bases in zip(SITE_LABELS, ("GT", "AG"), strict=True):
        calls[(middle == encode(bases)).all(1)] = LABELS.index(label)
    return np.eye(len(LABELS))[calls]


def model_score(model: DnabertClassifier, micro_batch_size: int) -> Score:
    """Score by a fine-tuned classifier."""
    return lambda windows: model.predict([decode(each) for each in windows], micro_batch_size).numpy()


def check_model(name: str, model: DnabertClassifier, width: int) -> None:
    """See that a classifier tells splice sites, and takes windows of `width` bases.

    Raises:
        ConfigError: it does not.
    """
    if model.labels != list(LABELS):
        raise ConfigError(
            f"restore_from_path: {name} tells {', '.join(model.labels)} apart, and not {', '.join(LABELS)}: "
            "give a file that finetune.py wrote for a splice data set"
        )
    try:
        model.predict(["A" * width])
    except ConfigError as error:
        raise ConfigError(f"restore_from_path: {name}: {error}") from None


def scan_rows(
    dataset: SpliceDataset,
    loci: Sequence[Locus],
    models: dict[str, Score],
    baselines: Sequence[str],
    *,
    seed: int,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each row's name and scores [n, 2]: the models, then the baselines, which are trained here.

    Raises:
        ConfigError: as `trained_baselines`.
    """
    for name, score in models.items():
        yield name, scanned(name, score, loci, dataset.window)
    for baseline in trained_baselines(dataset, baselines, seed=seed):
        yield baseline.name, scanned(baseline.name, baseline.probabilities, loci, dataset.window)


def rule_scores(loci: Sequence[Locus], width: int) -> NDArray[np.float32]:
    """Return the scores [n, 2] of the GT/AG rule; above 0 are those of places that have a site's bases."""
    return scanned(RULE_ROW, rule_probabilities, loci, width)
