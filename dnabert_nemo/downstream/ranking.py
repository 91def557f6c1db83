"""How well probabilities rank and how true they are: AUROC, AUPRC, Brier score and calibration error.

The windows of a label are its sites and the negatives it meets, as of `metrics.site_matrix`; its score is the
probability of that label. Sites of the other kind have no part, whatever they are called.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.splice_dataset import LABELS

RANKINGS = ("auroc", "auprc", "brier", "calibration_error")
NUM_BINS = 15  # of probabilities, equally wide

_NEGATIVE = LABELS.index("negative")


def site_scores(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    against: NDArray[np.integer] | None,
    label: str,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return of a site label's m windows whether each is a site, and its score: [m] each.

    Args:
        labels: class indices [n].
        probabilities: [n, 3].
        against: as of `metrics.confusion_table`.
    """
    one = LABELS.index(label)
    is_met = labels == _NEGATIVE
    if against is not None:
        is_met &= (against == _NEGATIVE) | (against == one)
    members = (labels == one) | is_met
    return labels[members] == one, probabilities[members, one].astype(np.float64)


def rank(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    against: NDArray[np.integer] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the RANKINGS of donor, acceptor and their mean.

    Raises:
        ValueError: probabilities of another shape than [n, 3], or a label without sites or negatives.
    """
    if probabilities.shape != (len(labels), len(LABELS)):
        raise ValueError(
            f"{len(labels)} labels, probabilities {probabilities.shape}: want [n, {len(LABELS)}]"
        )
    found = {}
    for label in SITE_LABELS:
        is_site, scores = site_scores(labels, probabilities, against, label)
        if is_site.all() or not is_site.any():
            raise ValueError(f"{label}: {int(is_site.sum())} sites among {len(is_site)} windows rank nothing")
        found[label] = {
            "auroc": float(roc_auc_score(is_site, scores)),
            "auprc": float(average_precision_score(is_site, scores)),
            "brier": float(brier_score_loss(is_site, scores)),
            "calibration_error": calibration_error(is_site, scores),
        }
    mean = {name: float(np.mean([found[label][name] for label in SITE_LABELS])) for name in RANKINGS}
    return {**found, "mean": mean}


def calibration_error(is_site: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv:1706.04599) of m windows.

    Of NUM_BINS bins of scores, the mean distance between the mean score and the share of sites, each bin by
    how many windows it has.
    """
    missed = np.bincount(bin_of(scores), weights=scores - is_site, minlength=NUM_BINS)
    return float(np.abs(missed).sum() / len(scores))


def bin_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of NUM_BINS bins each score is in, [m]."""
    return np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
