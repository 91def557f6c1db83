"""Where a row of the splice report is right and where not: by the motif, and by the distance to a site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceSplit

DISTANCES = (0, 50, 100, 200, 500, 1000, 2000, 5000)  # bases, where each slice begins
OTHERS = "others"
SLICED = ("distance", "motif")

_MOST_MOTIFS = 4  # of a group, the most frequent
_OF_RANDOM_PLACES = ("GT", "AG")  # the two bases by which a random place can look like a site
_NEGATIVE = LABELS.index("negative")


def window_slices(windows: SpliceSplit, calls: NDArray[np.integer]) -> dict[str, list[dict[str, Any]]]:
    """Count the rightly called of n windows in slices, given the class indices [n] they were called.

    Returns:
        `motif` and `distance`, the latter of negatives alone: for each slice that has any windows its
        `group` (a label, or "decoy of donor" and the like), its name, the number of `windows`, of those
        called as what they are, and the 95 % `interval` of their share (Wilson 1927, JASA 22:209).
    """
    is_right = calls == windows.labels
    groups = np.array(_groups(windows), dtype=object)
    found: dict[str, list[dict[str, Any]]] = {"motif": [], "distance": []}
    for group in dict.fromkeys([*LABELS, *(f"decoy of {label}" for label in LABELS[:_NEGATIVE])]):
        members = np.flatnonzero(groups == group)
        motifs = np.array(_motif_names([windows.motifs[at] for at in members], group), dtype=object)
        for name in sorted(set(motifs), key=lambda name: (name == OTHERS, -(motifs == name).sum(), name)):
            found["motif"].append(_slice(group, name, is_right[members[motifs == name]]))
        if group in LABELS[:_NEGATIVE]:
            continue
        which = np.searchsorted(DISTANCES, windows.distances[members], side="right") - 1
        for at in np.unique(which).tolist():
            found["distance"].append(_slice(group, _distance_name(at), is_right[members[which == at]]))
    return found


def slice_lines(rows: Mapping[str, Any], of: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of a table of rows' shares in the slices of one of SLICED."""
    found = [row["slices"][of] for row in rows.values()]
    lines = [
        [
            *(alike[0]["group"], alike[0]["slice"], f"{alike[0]['windows']}"),
            *(f"{each['right'] / each['windows']:.4f}" for each in alike),
        ]
        for alike in zip(*found, strict=True)
    ]
    return ["windows of", of, "number", *rows], lines


def _groups(windows: SpliceSplit) -> list[str]:
    return [
        f"decoy of {against}" if against else LABELS[label]
        for label, against in zip(windows.labels.tolist(), windows.against, strict=True)
    ]


def _motif_names(motifs: Sequence[str], group: str) -> list[str]:
    """Name the motifs of one group, the rare ones together."""
    if group == LABELS[_NEGATIVE]:
        kept = set(_OF_RANDOM_PLACES)
    else:
        ranked = sorted(Counter(motifs).items(), key=lambda pair: (-pair[1], pair[0]))
        kept = {motif for motif, _ in ranked[:_MOST_MOTIFS]}
    return [motif if motif in kept else OTHERS for motif in motifs]


def _distance_name(at: int) -> str:
    if at + 1 == len(DISTANCES):
        return f"{DISTANCES[at]} and more"
    return f"{DISTANCES[at]}-{DISTANCES[at + 1] - 1}"


def _slice(group: str, name: str, is_right: NDArray[np.bool_]) -> dict[str, Any]:
    number, right = len(is_right), int(is_right.sum())
    low, high = binomtest(right, number).proportion_ci(method="wilson")
    interval = [round(float(end), 5) for end in (low, high)]
    return {"group": group, "slice": name, "windows": number, "right": right, "interval": interval}
