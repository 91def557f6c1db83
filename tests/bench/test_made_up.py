"""The made-up genome and windows that the benchmarks read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.bench.made_up import windows, write_genome, write_windows
from dnabert_nemo.genome.fasta import fasta_pieces
from dnabert_nemo.genome.source import Source


def contigs(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for piece in fasta_pieces(Source(path)):
        found[piece.name] = found.get(piece.name, b"") + piece.letters
    return found


@pytest.mark.parametrize("bases", [1_000, 600_000, 5_000_003])
def test_a_genome_has_a_contig_of_a_quarter_and_many_small_ones(bases: int, tmp_path: Path) -> None:
    lengths = write_genome(tmp_path / "a.fa.gz", bases, seed=1)
    read = contigs(tmp_path / "a.fa.gz")
    assert [len(letters) for letters in read.values()] == lengths
    assert sum(lengths) == bases
    assert lengths[0] == bases // 4 == max(lengths)
    assert lengths[1:13] == sorted(lengths[1:13], reverse=True)


def test_it_has_lower_case_and_gaps_and_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a.fa.gz", "b.fa.gz"):
        write_genome(tmp_path / name, 5_000_000, seed=3)
    write_genome(tmp_path / "c.fa.gz", 5_000_000, seed=4)
    one, same, other = (gzip.decompress((tmp_path / f"{name}.fa.gz").read_bytes()) for name in "abc")
    assert one == same != other
    letters = b"".join(contigs(tmp_path / "a.fa.gz").values())
    assert set(letters) == set(b"ACGTacgtN")
    assert 0.4 < sum(map(letters.count, (b"a", b"c", b"g", b"t"))) / len(letters) < 0.6


def test_one_window_in_twenty_is_a_copy(tmp_path: Path) -> None:
    made = list(windows(2000, 100, seed=1))
    exact = len(made) - len({window.tobytes() for window in made})
    assert 25 < exact < 80
    write_windows(tmp_path / "w.fa", 2000, 100, seed=1)
    read = b"".join(contigs(tmp_path / "w.fa").values())
    assert read == np.concatenate(made).tobytes()
