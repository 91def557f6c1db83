"""BED in, and the arithmetic of intervals against a mask of single bases."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.bed import intersect, merged, read_bed, subtract

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=8).map(
    lambda rows: np.array([(start, start + length) for start, length in rows], np.int64).reshape(-1, 2)
)


def mask(intervals: np.ndarray) -> np.ndarray:
    covered = np.zeros(100, dtype=bool)
    for start, end in intervals.tolist():
        covered[start:end] = True
    return covered


@given(INTERVALS, INTERVALS)
@settings(max_examples=500)
def test_intervals_do_what_masks_do(one: np.ndarray, other: np.ndarray) -> None:
    runs, regions = merged(one), merged(other)
    for result, expected in (
        (runs, mask(one)),
        (intersect(runs, regions), mask(one) & mask(other)),
        (subtract(runs, regions), mask(one) & ~mask(other)),
    ):
        assert np.array_equal(mask(result), expected)
        assert (result[:, 0] < result[:, 1]).all()
        assert (result[1:, 0] >= result[:-1, 1]).all()
    assert (runs[1:, 0] > runs[:-1, 1]).all()


def test_a_file_as_browsers_write_it(tmp_path: Path) -> None:
    text = "browser position chr1\r\ntrack name=x\r\n# note\r\n\r\nchr1\t5\t9\tname\t0\t+\r\nchr2 0 3\r\n"
    text += "chr1\t8\t20\r\nchr1\t30\t30\r\nchr1\t20\t21\r\n"
    (tmp_path / "x.bed").write_bytes(bz2.compress(text.encode()))
    found = read_bed(tmp_path / "x.bed")
    assert {contig: rows.tolist() for contig, rows in found.items()} == {"chr1": [[5, 21]], "chr2": [[0, 3]]}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("chr1\t5\n", 1, "not BED: .* has no three columns"),
        ("track x\n\ntrack1 5\n", 3, "not BED: 'track1 5' has no three columns"),
        ("#\nchr1\tfive\t9\n", 2, "'five' is not a whole number"),
        ("chr1 5 1e6\n", 1, "'1e6' is not a whole number"),
        ("chr1 1_0 20\n", 1, "'1_0' is not a whole number"),
        ("chr1 \xb2 20\n", 1, "is not a whole number"),
        ("1\tensembl\tgene\t5\t9\n", 1, "'ensembl' is not a whole number"),
        ("chr1 5 " + "9" * 19, 1, "is not a whole number"),
        ("\t5\t9\n", 1, "a region without a contig"),
        ("chr1 5 5\n", None, "no region in it"),
        ("a" * (1 << 20), 1, "the line is longer than 1,048,576"),
        ("chr1\t9\t5\n", 1, "region from 9 to 5: BED counts from 0"),
        ("chr1\t-1\t5\n", 1, "region from -1 to 5"),
        ("track name=x\n", None, "no region in it"),
        ("", None, "no region in it"),
    ],
)
def test_rows_that_are_no_regions(text: str, line: int | None, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.bed").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=says) as caught:
        read_bed(tmp_path / "x.bed")
    assert caught.value.line == line


@given(st.binary(max_size=120) | st.text(alphabet="chr12 \t\n\r.-#", max_size=60).map(str.encode))
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_regions_or_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.bed").write_bytes(content)
    try:
        found = read_bed(tmp_path / "x.bed")
    except FormatError:
        return
    assert found
    for rows in found.values():
        assert rows.shape == (len(rows), 2) and len(rows)
        assert (rows[:, 0] < rows[:, 1]).all() and (rows[1:, 0] > rows[:-1, 1]).all()
