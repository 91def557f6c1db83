"""Which stretches of a contig are worth keeping, told from where its bases are; `scan` asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.bed import intersect, subtract

Runs = NDArray[np.int64]  # [m, 2], rising, disjoint, 0-based half-open
Regions = dict[str, Runs]  # by contig


@dataclass(frozen=True, eq=False)
class StretchRule:
    """What makes a stretch: "cut" ends it at any letter but A, C, G, T, "unk" at `min_stretch` of them.

    With `include` it lies inside those regions, with `exclude` outside these.
    """

    min_stretch: int  # bases
    non_acgt: Literal["cut", "unk"] = "cut"
    include: Regions | None = None
    exclude: Regions | None = None


@dataclass(frozen=True, eq=False)
class Stretches:
    """The stretches of one contig, and what was left out."""

    usable: Runs
    longest: int
    num_short: int
    num_short_bases: int
    num_excluded_bases: int


def usable_stretches(contig: str, runs: Runs, rule: StretchRule) -> Stretches:
    """Choose the stretches of a contig whose maximal runs of A, C, G, T are `runs`."""
    none = np.empty((0, 2), dtype=np.int64)
    whole = _joined(runs, rule.min_stretch) if rule.non_acgt == "unk" else runs
    inside = whole
    if rule.include is not None:
        inside = intersect(inside, rule.include.get(contig, none))
    if rule.exclude is not None:
        inside = subtract(inside, rule.exclude.get(contig, none))
    lengths = _lengths(inside)
    num_bases = _bases_before(inside[:, 1], runs) - _bases_before(inside[:, 0], runs)
    # with "unk", a stretch of more gaps than bases is none
    is_short = (lengths < rule.min_stretch) | (2 * num_bases < lengths)
    return Stretches(
        usable=inside[~is_short],
        longest=int(lengths.max(initial=0)),
        num_short=int(np.count_nonzero(is_short)),
        num_short_bases=int(lengths[is_short].sum()),
        num_excluded_bases=int(_lengths(whole).sum() - lengths.sum()),
    )


def _joined(runs: Runs, min_gap: int) -> Runs:
    """Join runs that fewer than `min_gap` other letters part."""
    is_gap = runs[1:, 0] - runs[:-1, 1] >= min_gap
    begins = np.concatenate([np.ones(min(len(runs), 1), dtype=np.bool_), is_gap])
    ends = np.concatenate([is_gap, np.ones(min(len(runs), 1), dtype=np.bool_)])
    return np.stack([runs[begins, 0], runs[ends, 1]], axis=1)


def _bases_before(places: NDArray[np.int64], runs: Runs) -> NDArray[np.int64]:
    """Count the bases of all runs before each place."""
    run = np.searchsorted(runs[:, 0], places, side="right")
    whole = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(_lengths(runs))])
    ends = np.append(runs[:, 1], 0)
    beyond = np.where(run > 0, np.maximum(ends[run - 1] - places, 0), 0)
    before: NDArray[np.int64] = whole[run] - beyond
    return before


def _lengths(runs: Runs) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = runs[:, 1] - runs[:, 0]
    return lengths
