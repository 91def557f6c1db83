"""How well probabilities rank and how true they are: AUROC, AUPRC, Brier score and calibration error.

The windows of a label are its sites and the negatives it meets, as of `metrics.site_matrix`; its score is the
probability of that label. Sites of the other kind have no part, whatever they are called.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from dnabert_nemo.downstream.drawing import drawn_samples
from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.downstream.splice_dataset import LABELS

RANKINGS = ("auroc", "auprc", "brier", "calibration_error")
NUM_BINS = 15  # of probabilities, equally wide
_RESAMPLES = 2000

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
    one, members = LABELS.index(label), site_windows(labels, against, label)
    return labels[members] == one, probabilities[members, one].astype(np.float64)


def site_windows(
    labels: NDArray[np.integer], against: NDArray[np.integer] | None, label: str
) -> NDArray[np.bool_]:
    """Tell which of n windows are a site label's sites or the negatives it meets."""
    one = LABELS.index(label)
    is_met = labels == _NEGATIVE
    if against is not None:
        is_met &= (against == _NEGATIVE) | (against == one)
    found: NDArray[np.bool_] = (labels == one) | is_met
    return found


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


def rank_intervals(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    against: NDArray[np.integer] | None = None,
    *,
    seed: int,
    level: float = 0.95,
) -> dict[str, dict[str, list[float]]]:
    """Return percentile intervals [low, high] of what `rank` returns, of a bootstrap that draws windows.

    A draw without sites or without negatives ranks nothing and is left out.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    parts = [
        [weighted_ranking(labels, probabilities, against, label, weights) for label in SITE_LABELS]
        for weights in drawn_samples(rng, len(labels), _RESAMPLES)
    ]
    drawn = np.concatenate(parts, axis=2)  # label, metric, draw
    drawn = drawn[:, :, np.isfinite(drawn).all((0, 1))]
    ends = [(1 - level) / 2, (1 + level) / 2]
    of = {**dict(zip(SITE_LABELS, drawn, strict=True)), "mean": drawn.mean(0)}
    return {
        label: {name: np.quantile(each, ends).tolist() for name, each in zip(RANKINGS, found, strict=True)}
        for label, found in of.items()
    }


def weighted_ranking(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    against: NDArray[np.integer] | None,
    label: str,
    weights: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Return RANKINGS of a site label, [4, R], where a row of `weights` [R, n] says how often each counts."""
    members = site_windows(labels, against, label)
    is_site, scores = site_scores(labels, probabilities, against, label)
    own = weights[:, members]
    total = own.sum(1)
    in_bin = np.eye(NUM_BINS)[bin_of(scores)] * (scores - is_site)[:, None]
    with np.errstate(invalid="ignore"):
        squares, missed = own @ (scores - is_site) ** 2 / total, np.abs(own @ in_bin).sum(1) / total
    return np.stack([*areas_under(is_site, scores, own), squares, missed])


def areas_under(
    is_one: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return AUROC and average precision, [2, R]; equal scores are one step of either curve.

    Of m samples by their scores [m], each row of `weights` [R, m] saying how often each counts: a thousand
    draws at once, where scikit-learn's functions sort each anew. nan where a row lacks a class.
    """
    order = np.argsort(-scores, kind="stable")
    steps = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ones, others = (
        np.add.reduceat(weights[:, order] * mask[order], steps, axis=1, dtype=np.float64)
        for mask in (is_one, ~is_one)
    )
    above, below = ones.cumsum(1), others.cumsum(1)
    num_ones, num_others = above[:, -1], below[:, -1]
    with np.errstate(invalid="ignore"):
        auroc = (others * (above - ones / 2)).sum(1) / (num_ones * num_others)
        precision = np.divide(above, above + below, out=np.zeros_like(above), where=above > 0)
        return np.stack([auroc, (ones * precision).sum(1) / num_ones])


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
