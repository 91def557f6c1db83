"""Windows tile the unbroken stretches, the same from either strand, and their bases come as in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.duplicates.windows import (
    ContigNames,
    ListJob,
    cut_windows,
    list_windows,
    read_windows,
    window_codes,
)
from dnabert_nemo.genome import fasta
from dnabert_nemo.genome.alphabet import decode, unbroken_stretches
from dnabert_nemo.genome.fasta import read_fasta

LENGTHS = st.lists(st.integers(1, 60), max_size=8)


def stretches_of(lengths: list[int], gap: int = 3) -> np.ndarray:
    ends = np.cumsum(np.array(lengths, dtype=np.int64) + gap)
    return np.stack([ends - np.array(lengths, dtype=np.int64), ends], axis=1)


@given(lengths=LENGTHS, window=st.integers(1, 20))
def test_windows_tile_every_stretch_with_parts_as_equal_as_can_be(lengths: list[int], window: int) -> None:
    stretches = stretches_of(lengths)
    windows, stretch = cut_windows(stretches, window)
    for number, (start, end) in enumerate(stretches.tolist()):
        parts = windows[stretch == number]
        sizes = parts[:, 1] - parts[:, 0]
        assert parts[0, 0] == start
        assert parts[-1, 1] == end
        np.testing.assert_array_equal(parts[1:, 0], parts[:-1, 1])
        assert sizes.max() <= window
        assert np.ptp(sizes) <= 1
        assert len(sizes) == -(-(end - start) // window)


@given(length=st.integers(1, 500), window=st.integers(1, 60))
def test_the_other_strand_is_cut_at_the_same_places(length: int, window: int) -> None:
    windows, _ = cut_windows(np.array([[0, length]]), window)
    backwards = length - windows[::-1, ::-1]
    far = np.abs(windows - backwards).max()
    assert far <= (1 if len(windows) % 2 == 0 and length % 2 == 1 else 0)


def test_without_a_length_every_stretch_is_a_window() -> None:
    stretches = stretches_of([3, 500, 1])
    windows, stretch = cut_windows(stretches, None)
    np.testing.assert_array_equal(windows, stretches)
    assert stretch.tolist() == [0, 1, 2]


@pytest.mark.parametrize("window", [None, 7])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    contigs=st.lists(st.text("ACGTacgtNRn", min_size=1, max_size=70), min_size=1, max_size=5),
    piece=st.integers(3, 40),
)
def test_listed_windows_and_their_bases(
    contigs: list[str], piece: int, window: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.fa"
    path.write_text("".join(f">c{number} of many\n{text}\n" for number, text in enumerate(contigs)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dnabert_nemo.duplicates.windows.fasta_pieces",
            lambda source, names: fasta.fasta_pieces(source, names, piece),
        )
        patch.setattr("dnabert_nemo.duplicates.windows._CONTIGS", 2)
        patch.setattr("dnabert_nemo.duplicates.windows._ROWS", 3)
        job = ListJob(4, str(path), "header", window, 3, tmp_path / "table")
        listed = list_windows(job)
        tables = list(read_windows(job.table, 0, listed.num_windows))
        found = list(window_codes(str(path), "header", tables))
    rows = [row for table in tables for row in table.tolist()]
    expected, letters = [], []
    short = 0
    for number, contig in enumerate(read_fasta(path)):
        stretches = unbroken_stretches(contig.codes)
        long = stretches[:, 1] - stretches[:, 0] >= 3
        short += int((stretches[:, 1] - stretches[:, 0])[~long].sum())
        windows, _ = cut_windows(stretches[long], window)
        expected += [(4, number, start, end - start) for start, end in windows.tolist()]
        letters += [decode(contig.codes[start:end]) for start, end in windows.tolist()]
    assert rows == expected
    assert [decode(codes) for codes in found] == letters
    assert listed.num_bases == sum(map(len, letters))
    assert listed.num_short_bases == short
    assert listed.num_bases + short + listed.num_not_bases == sum(map(len, contigs))
    assert list(listed.longest) == sorted([0, 0, *map(len, letters)])[-2:]
    names = ContigNames(job.table)
    assert [names[number] for number in range(len(names))] == [f"c{n} of many" for n in range(len(contigs))]


def test_some_of_the_windows_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGTACGTNNTTTTGGGG\n>b\nCCCCCCCC\n>c\nGATTACAG\n")
    job = ListJob(0, str(path), "first_word", 4, 4, tmp_path / "table")
    listed = list_windows(job)
    [table] = read_windows(job.table, 0, listed.num_windows)
    found = window_codes(str(path), "first_word", [table[[1, 2]], table[[7]]])
    assert [decode(codes) for codes in found] == ["ACGT", "TTTT", "ACAG"]
