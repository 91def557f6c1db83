"""Slices of a small split counted by hand, and what is listed of its errors."""

from __future__ import annotations

import numpy as np
import pytest

from dnabert_nemo.downstream.report_errors import FLANK, MOST_ERRORS, errors, window_errors
from dnabert_nemo.downstream.report_slices import DISTANCES, OTHERS, slice_lines, window_slices
from dnabert_nemo.downstream.splice_dataset import SpliceSplit

DONOR, ACCEPTOR, NEGATIVE = range(3)


def split(*rows: tuple[int, str, str, int]) -> SpliceSplit:
    """Windows of 50 bases from label, motif, against and distance."""
    labels, motifs, against, distances = zip(*rows, strict=True)
    sequences = ["A" * 24 + motif[:2] + "C" * 24 for motif in motifs]
    count = len(rows)
    return SpliceSplit(
        sequences,
        np.array(labels),
        [f"chr{at}" for at in range(count)],
        np.arange(count) * 100,
        ["+-"[at % 2] for at in range(count)],
        list(against),
        list(motifs),
        np.array(distances),
    )


WINDOWS = split(
    (DONOR, "GT-AG", "", 0),
    (DONOR, "GT-AG", "", 0),
    (DONOR, "GC-AG", "", 0),
    (ACCEPTOR, "GT-AG", "", 0),
    (NEGATIVE, "GT", "donor", 50),
    (NEGATIVE, "GT", "donor", 99),
    (NEGATIVE, "GT", "donor", 100),
    (NEGATIVE, "AG", "acceptor", 7000),
    (NEGATIVE, "CC", "", 3),
    (NEGATIVE, "AG", "", 4999),
)
CALLS = np.array([DONOR, NEGATIVE, DONOR, DONOR, NEGATIVE, DONOR, ACCEPTOR, NEGATIVE, NEGATIVE, ACCEPTOR])


def counted(found: list[dict]) -> list[tuple[str, str, int, int]]:
    return [(each["group"], each["slice"], each["right"], each["windows"]) for each in found]


def test_slices_by_hand() -> None:
    found = window_slices(WINDOWS, CALLS)
    assert counted(found["motif"]) == [
        ("donor", "GT-AG", 1, 2),
        ("donor", "GC-AG", 1, 1),
        ("acceptor", "GT-AG", 0, 1),
        ("negative", "AG", 0, 1),
        ("negative", OTHERS, 1, 1),
        ("decoy of donor", "GT", 1, 3),
        ("decoy of acceptor", "AG", 1, 1),
    ]
    assert counted(found["distance"]) == [
        ("negative", "0-49", 1, 1),
        ("negative", "2000-4999", 0, 1),
        ("decoy of donor", "50-99", 1, 2),
        ("decoy of donor", "100-199", 0, 1),
        ("decoy of acceptor", "5000 and more", 1, 1),
    ]
    assert sum(each["windows"] for each in found["motif"]) == len(WINDOWS)
    assert 0 in DISTANCES
    half = found["motif"][0]["interval"]
    assert half == [pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4)]  # Wilson's of 1 in 2
    header, lines = slice_lines({"ours": {"slices": found}, "rule": {"slices": found}}, "distance")
    assert header == ["windows of", "distance", "number", "ours", "rule"]
    assert lines[2] == ["decoy of donor", "50-99", "2", "0.5000", "0.5000"]


def test_rare_motifs_of_sites_are_one_slice() -> None:
    motifs = ["GT-AG"] * 5 + ["GC-AG"] * 3 + ["AT-AC", "AT-AC", "GT-GG", "CT-AC", "AA-AA"]
    windows = split(*((DONOR, motif, "", 0) for motif in motifs))
    found = counted(window_slices(windows, np.zeros(len(motifs), dtype=int))["motif"])
    assert found == [
        ("donor", "GT-AG", 5, 5),
        ("donor", "GC-AG", 3, 3),
        ("donor", "AT-AC", 2, 2),
        ("donor", "AA-AA", 1, 1),
        ("donor", OTHERS, 2, 2),
    ]


def test_the_surest_errors_come_first_with_their_places() -> None:
    probabilities = np.full((len(WINDOWS), 3), 0.0)
    probabilities[np.arange(len(WINDOWS)), CALLS] = 0.9
    probabilities[5, DONOR] = 0.95
    found = window_errors(WINDOWS, probabilities)
    assert found["number"] == 5
    assert [each["line"] for each in found["surest"]] == [7, 3, 5, 8, 11]  # the header is line 1
    assert found["surest"][0] == {
        "line": 7,
        "true": "negative",
        "called": "donor",
        "probability": 0.95,
        "length": 50,
        "middle": ["A" * FLANK, "GT", "C" * FLANK],
        "contig": "chr5",
        "start": 500,
        "strand": "-",
        "motif": "GT",
        "against": "donor",
        "distance": 99,
    }


def test_errors_are_bounded_and_short_sequences_whole() -> None:
    sequences = ["ACG", "A", *["ACGTACGT"] * 100]
    labels, names = np.zeros(102, dtype=int), ("no", "yes")
    found = errors(sequences, labels, np.tile([0.2, 0.8], (102, 1)), names)
    assert (found["number"], len(found["surest"])) == (102, MOST_ERRORS)
    assert [each["middle"] for each in found["surest"][:3]] == [
        ["A", "C", "G"],
        ["", "A", ""],
        ["ACG", "TA", "CGT"],
    ]
    none = errors(sequences, labels, np.tile([0.8, 0.2], (102, 1)), names)
    assert none == {"number": 0, "surest": []}
