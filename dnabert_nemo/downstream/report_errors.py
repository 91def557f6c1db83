"""What a report's first row is most sure of and wrong about, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceSplit

MOST_ERRORS = 30  # that are shown
FLANK = 20  # bases shown on either side of the centre

_FIRST_LINE = 2  # of a split's CSV file, after its header


def window_errors(windows: SpliceSplit, probabilities: NDArray[np.floating]) -> dict[str, Any]:
    """Return the errors of probabilities [n, 3] on splice windows, with the place of each: see `errors`."""
    found = errors(windows.sequences, windows.labels, probabilities, LABELS)
    for each in found["surest"]:
        at = each["line"] - _FIRST_LINE
        each |= {
            "contig": windows.contigs[at],
            "start": int(windows.starts[at]),
            "strand": windows.strands[at],
            "motif": windows.motifs[at],
            "against": windows.against[at],
            "distance": int(windows.distances[at]),
        }
    return found


def errors(
    sequences: Sequence[str],
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return how many of n samples are called wrongly by probabilities [n, C], and the surest of these.

    Returns:
        `number`, and `surest`, MOST_ERRORS at most: the `line` of the split's file, the true label, the one
        `called` and its probability, how long the sequence is, and its middle in three: what comes before
        the centre, the one or two bases of it, and what comes after.
    """
    called = probabilities.argmax(1)
    wrong = np.flatnonzero(called != labels)
    surest = wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")][:MOST_ERRORS]
    return {
        "number": len(wrong),
        "surest": [
            {
                "line": at + _FIRST_LINE,
                "true": names[labels[at]],
                "called": names[called[at]],
                "probability": round(float(probabilities[at, called[at]]), 5),
                "length": len(sequences[at]),
                "middle": _middle(sequences[at]),
            }
            for at in surest.tolist()
        ],
    }


def _middle(sequence: str) -> list[str]:
    first, after = (len(sequence) - 1) // 2, len(sequence) // 2 + 1
    return [sequence[max(0, first - FLANK) : first], sequence[first:after], sequence[after : after + FLANK]]
