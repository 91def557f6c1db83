"""The report of the reads: fixed columns, a row a sample, and a line for the log."""

from __future__ import annotations

import csv
import json

import pytest

from dnabert_nemo.genome.read_filter import KEPT
from dnabert_nemo.genome.read_report import ReadTally, write_read_report


def tally_of(name: str) -> ReadTally:
    tally = ReadTally(name, is_paired=True, labels={"Spaceflight": "Space Flight", 'odd"\t': "ü"})
    tally.num_bases_in, tally.phred_in, tally.num_adapters, tally.num_sampled = 1000, 30_000, 3, 2
    for verdict in (KEPT, 0, KEPT, 1, KEPT, 2, 0):
        tally.count(verdict, 100, 3500, 4)
    return tally


def test_the_sums_add_up():
    tally = tally_of("s")
    assert tally.num_in == 7 == tally.num_kept + tally.num_dropped
    assert tally.dropped == {"too_short": 2, "low_quality": 1, "too_many_unknown": 1}
    assert (tally.num_bases_kept, tally.num_unknown_kept) == (300, 12)
    assert (tally.mean_quality_in, tally.mean_quality_kept) == (30, 35)


def test_samples_tsv(tmp_path):
    names = ["a", 'tab\t"and quote"', "last"]
    path = write_read_report([tally_of(name) for name in names], tmp_path)
    assert path == tmp_path / "samples.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["sample"] for row in rows] == names
    wanted = {
        "unit": "pair", "in": "7", "kept": "3", "too_short": "2", "low_quality": "1", "too_many_unknown": "1",
        "sampled": "2", "adapters": "3", "bases_in": "1000", "bases_kept": "300", "unknown_kept": "12",
        "mean_quality_in": "30.000", "mean_quality_kept": "35.000",
    }  # fmt: skip
    assert {column: rows[0][column] for column in wanted} == wanted
    assert json.loads(rows[0]["labels"]) == {"Spaceflight": "Space Flight", 'odd"\t': "ü"}
    assert path.read_bytes() == write_read_report([tally_of(name) for name in names], tmp_path).read_bytes()


def test_a_tally_that_does_not_add_up_is_our_mistake(tmp_path):
    tally = tally_of("s")
    tally.num_in += 1
    with pytest.raises(AssertionError):
        write_read_report([tally], tmp_path)


def test_the_line_for_the_log():
    assert tally_of("s").summary() == (
        "sample s: 7 pairs, 3 kept (42.9 %); dropped: 2 too short, 1 low quality, 1 too many unknown; "
        "3 adapters cut off; mean quality 30.0 -> 35.0; 2 sampled"
    )
    assert (
        ReadTally("none").summary()
        == "sample none: 0 reads, 0 kept (0.0 %); mean quality 0.0 -> 0.0; 0 sampled"
    )
