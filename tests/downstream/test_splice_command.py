"""examples/prepare_splice.py as a user calls it: what it prints, its exit codes, what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import pytest

from dnabert_nemo.downstream.report import RULE_ROW
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset

SCRIPT = Path(__file__).parents[2] / "examples" / "prepare_splice.py"


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "prepare_splice", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_from_fasta_and_gff3_to_a_data_set(toy: tuple[Path, Path], splice_dir: Path, tmp_path: Path) -> None:
    given = (f"input.fasta=[{toy[0]}]", f"input.annotation={toy[1]}", "output_dir=splice")
    done = run(tmp_path, *given, "split.validation=[4]", "split.test=5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("protocol card_by_contig: ")
    assert lines[1].startswith("annotated: ")
    assert [line.split(":")[0] for line in lines[-3:]] == ["train", "validation", "test"]
    assert [path.name for path in tmp_path.iterdir()] == ["splice"]
    assert load_splice_dataset(tmp_path / "splice").manifest == load_splice_dataset(splice_dir).manifest


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["input.fasta=[one.fa]", "output_dir=splice"], "input.annotation"),
        (["input.fasta=[one.fa]", "input.annotation=[one.gff3]", "output_dir=splice", "widow=512"], "widow"),
        (
            ["input.fasta=[one.fa]", "input.annotation=[one.gff3]", "output_dir=splice", "window=511"],
            "pass window=512",
        ),
        (
            ["input.fasta=[absent.fa]", "input.annotation=[one.gff3]", "output_dir=splice"],
            "absent.fa: no such file",
        ),
        (["input.fasta=[one.fa]", "input.annotation=[one.gff3]", "output_dir=splice"], "(chr1) is a contig"),
        (
            ["input.fasta=[one.fa]", "input.annotation=[one.gff3]", "output_dir=splice", "protocol=easy"],
            "protocol=easy: choose from card_by_contig, card,",
        ),
        (["input=one.fa", "output_dir=splice"], "input=one.fa: it has keys of its own: pass input.KEY="),
        (
            ["input.fasta=[one.fa]", "input.annotation=[one.gff3]", "output_dir=splice", "split=1"],
            "split=1: it has keys of its own: pass split.KEY=VALUE",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(overrides: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "one.fa").write_text(">1\n" + "ACGT" * 40 + "\n")
    exon = "chr1\t.\texon\t{}\t{}\t.\t+\t.\tParent=transcript:1\n"
    (tmp_path / "one.gff3").write_text(exon.format(1, 20) + exon.format(60, 90))
    done = run(tmp_path, *overrides)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.fa", "one.gff3"]


def test_baselines_alone_are_reported(splice_dir: Path, tmp_path: Path) -> None:
    script = SCRIPT.with_name("benchmark_splice.py")
    given = (f"dataset_path={splice_dir}", "output_dir=report", "baselines=[weights]")
    command = [sys.executable, str(script), *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert list(report["rows"]) == ["position weight matrix, 40 bases", RULE_ROW]
    assert report["files"] == {}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["split=dev"], "split=dev: choose train, validation, test"),
        (["split=validation"], "split=validation is empty in splice: choose train, test"),
        (["seed=-1"], "seed=-1: give a whole number of at least 0"),
        (["micro_batch_size=0"], "micro_batch_size=0: give a whole number of at least 1"),
        (["output_dir=there"], "output_dir=there exists: pass overwrite=true"),
    ],
)
def test_a_report_that_cannot_be_had_is_refused_before_any_work(
    overrides: list[str], says: str, toy: tuple[Path, Path], prepare: Callable[..., Any], tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "splice", validation=())
    (tmp_path / "there").mkdir()
    given = ["dataset_path=splice", "output_dir=report", "baselines=[cnn]", *overrides]
    done = commands.run([str(SCRIPT.with_name("benchmark_splice.py")), *given], cwd=tmp_path, timeout=60)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["splice", "there"]


def test_nothing_here_imports_torch() -> None:
    modules = ("prepare", "splice_dataset", "metrics", "baselines", "report")
    imports = "; ".join(f"import dnabert_nemo.downstream.{module}" for module in modules)
    check = "import sys; print([name for name in ('torch', 'nemo', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{imports}; {check}"], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
