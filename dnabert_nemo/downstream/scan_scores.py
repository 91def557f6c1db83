"""How well positions are ranked at genomic imbalance: average precision, top-k, and their intervals.

N positions of G genes, K of them sites; `scan_rows` before it, `scan_report` after.

Positions of one score are one threshold, so that their order is no luck: average precision is that of
scikit-learn, and of those that share the last places of the top k, the share that may be expected counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

SHARES = (0.5, 1.0, 2.0, 4.0)  # of K: how many are taken, as SpliceAI's script of figures has it
AUPRC, TOP = "auprc", "top"
METRICS = (AUPRC, *(f"{TOP}_{share:g}k" for share in SHARES))


@dataclass(frozen=True, eq=False)
class Ranking:
    """How many positions and sites each gene has in each of C cells, the highest scores first.

    Cells 1, 3, ... are the distinct scores of sites; cell 0, 2, ... are what lies between those, where there
    are no sites. It tells all that the metrics need, for any weights of genes.
    """

    positions: csr_matrix  # [G, C]
    sites: csr_matrix  # [G, C]

    def cumulated(
        self, weights: NDArray[np.integer] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Count positions and sites down to each cell, each gene `weights` [G] times: [C] each."""
        ones = np.ones(self.positions.shape[0]) if weights is None else weights.astype(np.float64)
        return np.cumsum(self.positions.T @ ones), np.cumsum(self.sites.T @ ones)


def ranking(
    scores: NDArray[np.floating], is_site: NDArray[np.bool_], genes: NDArray[np.integer], num_genes: int
) -> Ranking:
    """Count the positions of each gene by score.

    Args:
        scores: [N], higher for what is more of a site.
        is_site: [N].
        genes: [N], of 0 .. num_genes - 1.

    Raises:
        ValueError: no site, or a score that is not a number.
    """
    if not is_site.any() or np.isnan(scores).any():
        raise ValueError(f"{int(is_site.sum())} sites, {int(np.isnan(scores).sum())} scores are no numbers")
    distinct = np.unique(scores[is_site])
    above = np.searchsorted(distinct, scores, side="right")  # sites' scores at or below
    at_least = np.searchsorted(distinct, scores, side="left")
    num_cells = 2 * len(distinct) + 1
    cells = num_cells - 1 - (above + at_least)
    shape = (num_genes, num_cells)

    def counted(members: NDArray[np.bool_] | slice) -> csr_matrix:
        own = genes[members].astype(np.int64) * num_cells + cells[members]
        found, count = np.unique(own, return_counts=True)
        return csr_matrix((count.astype(np.float64), np.divmod(found, num_cells)), shape=shape)

    return Ranking(counted(slice(None)), counted(is_site))


def figures(positions: NDArray[np.float64], sites: NDArray[np.float64]) -> dict[str, float]:
    """Return METRICS from the counts [C] of positions and sites down to each cell.

    Average precision is the sum of precision over steps of recall. Of top figures, m = share x K (rounded
    down) positions are taken; the sites among them are divided by the lesser of m and K (Jaganathan et al.
    2019, Cell 176:535: top-k accuracy is that at m = K). All are NaN where there is no site.
    """
    num_sites = sites[-1]
    if not num_sites:
        return dict.fromkeys(METRICS, float("nan"))
    steps = np.diff(sites, prepend=0.0)
    is_step = steps > 0
    found = {AUPRC: float((steps[is_step] * sites[is_step] / positions[is_step]).sum() / num_sites)}
    for name, share in zip(METRICS[1:], SHARES, strict=True):
        taken = max(1.0, np.floor(share * num_sites))
        # within a cell all scores are alike, or none is a site: either way sites come evenly
        hits = np.interp(taken, np.concatenate([[0.0], positions]), np.concatenate([[0.0], sites]))
        found[name] = float(hits / min(taken, num_sites))
    return found


def random_figures(num_sites: int, num_positions: int) -> dict[str, float]:
    """Return METRICS of scores that are all the same, which is what a random ranking comes to."""
    return figures(np.array([float(num_positions)]), np.array([float(num_sites)]))


def precision_recall(ranked: Ranking) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall at each distinct score of a site, the highest first."""
    positions, sites = ranked.cumulated()
    return (sites / np.maximum(positions, 1))[1::2], (sites / sites[-1])[1::2]


def draws_of_genes(num_genes: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each gene is drawn [G], of as many draws with replacement as there are genes."""
    rng = np.random.Generator(np.random.Philox(seed))
    for _ in range(resamples):
        yield rng.multinomial(num_genes, np.full(num_genes, 1 / num_genes))


def bootstrap(
    rankings: dict[str, Ranking], *, seed: int, resamples: int = 1000, level: float = 0.95
) -> dict[str, dict[str, list[float]]]:
    """Return percentile intervals [low, high] of METRICS of each ranking and of their mean.

    Whole genes are drawn, since the positions of one are no independent draws (Efron and Tibshirani 1993,
    chapter 13, for the percentile interval); the same seed draws the same genes whatever the scores are.
    Draws without a site are left out.
    """
    num_genes = next(iter(rankings.values())).positions.shape[0]
    drawn: dict[str, list[list[float]]] = {label: [] for label in (*rankings, "mean")}
    for weights in draws_of_genes(num_genes, resamples, seed):
        own = [list(figures(*ranked.cumulated(weights)).values()) for ranked in rankings.values()]
        for label, values in zip(drawn, [*own, np.mean(own, axis=0).tolist()], strict=True):
            drawn[label].append(values)
    ends = [(1 - level) / 2, (1 + level) / 2]
    return {
        label: dict(zip(METRICS, np.nanquantile(np.array(values), ends, axis=0).T.tolist(), strict=True))
        for label, values in drawn.items()
    }
