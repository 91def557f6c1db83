"""examples/deduplicate.py as a user calls it: what it prints, its exit codes, what it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.genome.alphabet import decode, reverse_complement

SCRIPT = Path(__file__).parents[2] / "examples" / "deduplicate.py"


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "deduplicate", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """A contig, and its reverse complement."""
    codes = np.random.default_rng(1).integers(0, 4, 25_000, dtype=np.uint8)
    path = tmp_path / "a.fa"
    path.write_text(f">one\n{decode(codes)}\n>other\n{decode(reverse_complement(codes))}\n")
    return path


def test_from_fasta_to_the_regions_kept(fasta: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "input.fasta=a.fa", "output_dir=out", "num_workers=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == ["input", "similar", "exact", "near", "kept"]
    assert lines[0] == "input: 1 files, 6 windows, 50,000 bases"
    assert lines[4] == "kept: 3 of 6 windows, 25,000 of 50,000 bases"
    assert (tmp_path / "out" / "kept.bed").read_text() == "one\t0\t25000\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fa", "out"]


def test_prepare_shards_takes_the_regions(fasta: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "input.fasta=a.fa", "output_dir=out").returncode == 0
    given = ["input.fasta=a.fa", "input.include=out/kept.bed", "split.validation=[]", "split.test=[]"]
    command = [sys.executable, str(SCRIPT.with_name("prepare_shards.py")), *given, "output_dir=shards"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "25,000 usable bases" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["output_dir=out"], "input.fasta"),
        (["input.fasta=absent.fa", "output_dir=out"], "absent.fa: no such file"),
        (["input.fasta=[a.fa]", "output_dir=out", "k=7"], "windows share .54 of their canonical 7-mers"),
        (["input.fasta=[a.fa]", "output_dir=out", "kmer=7"], "kmer"),
        (["input.fasta=[a.fa]", "output_dir=out", "input.names=id"], "first_word or header"),
        (["input.fasta=[a.fa,-]", "output_dir=out"], "a pipe"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    overrides: list[str], says: str, fasta: Path, tmp_path: Path
) -> None:
    done = run(tmp_path, *overrides)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.fa"]
