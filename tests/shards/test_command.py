"""examples/prepare_shards.py as a user calls it: what it prints, its exit codes, what it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dnabert_nemo.shards.reader import ShardSet

SCRIPT = Path(__file__).parents[2] / "examples" / "prepare_shards.py"


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "prepare_shards", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_from_fasta_to_shards(genome: list[Path], tmp_path: Path) -> None:
    paths = ",".join(map(str, genome))
    given = (
        f"input.fasta=[{paths}]",
        "tokenizer.k=4",
        "output_dir=shards",
        "records_per_shard=3",
        "num_workers=2",
    )
    done = run(tmp_path, *given)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["input", "train", "validation", "test"]
    assert lines[0].startswith("input: 2 files, 45 contigs, 101,509 usable bases; skipped 157 letters")
    assert "tokens (k=4)" in lines[1]
    assert "base-composition entropy 1.38" in lines[1]
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]
    readers = [ShardSet.open(tmp_path / "shards" / split, k=4) for split in ("train", "validation", "test")]
    assert sum(reader.manifest.num_bases for reader in readers) == 101_509


@pytest.mark.parametrize(
    "arguments",
    [("seed=7", "--cfg", "job"), ("--cfg", "job", "seed=7"), ("seed=7", "--cfg=job", "-p", "seed")],
)
def test_hydras_flags_on_either_side_of_the_overrides(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "7" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["output_dir=shards"], "input.fasta"),
        (["input.fasta=absent.fa", "output_dir=shards"], "absent.fa: no such file"),
        (["input.fasta=[empty.fa]", "output_dir=shards"], "empty.fa"),
        (
            ["input.fasta=[empty.fa]", "output_dir=shards", "tokenizer.k=9"],
            "tokenizer.k=9: give a whole number",
        ),
        (["input.fasta=[empty.fa]", "output_dir=shards", "tokeniser.k=3"], "tokeniser"),
        (["input.fasta=[one.fa]", "output_dir=shards"], "split.validation=[]"),
        (
            ["input.fasta=[one.fa]", "output_dir=shards", "split.test=[2]", "split.validation=[]"],
            "there are 1",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(overrides: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "empty.fa").touch()
    (tmp_path / "one.fa").write_text(">1\n" + "ACGT" * 40 + "\n")
    done = run(tmp_path, *overrides)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.fa", "one.fa"]
