"""Runs what README.md tells a newcomer to type, in order, on a toy genome and for a few steps."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dnabert_nemo.genome.toy import write_toy_genome

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text(encoding="utf-8")
IN_A_CLONE = ("conf", "dnabert_nemo", "examples", "scripts", "tests", "pyproject.toml")

# A little of each thing is enough here: what is added to every command that has this in its line.
ADDED = {
    "scripts/test.sh": "tests/kmer/test_vocabulary.py",
    "examples/pretrain.py": """
        model.num_layers=2 model.hidden_size=32 model.ffn_hidden_size=64 model.num_attention_heads=2
        model.global_batch_size=2 model.data.tokens_per_row=1024 model.data.num_validation_samples=4
        trainer.max_steps=2 trainer.log_every_n_steps=1 trainer.val_check_interval=2
        model.optim.sched.warmup_steps=1 model.optim.sched.constant_steps=1
    """,
    "examples/finetune.py": """
        trainer.max_steps=4 trainer.log_every_n_steps=2 trainer.val_check_interval=4
        model.optim.sched.warmup_steps=1
    """,
}


@dataclass(frozen=True)
class Block:
    """A fenced block of the README: its language, what it holds, and the comment in the line before it."""

    line: int
    language: str
    text: str
    comment: str


def blocks() -> list[Block]:
    fenced = re.finditer(
        r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", README, re.M | re.S
    )
    return [
        Block(
            README[: found.start()].count("\n") + 1, found["language"], found["text"], found["comment"] or ""
        )
        for found in fenced
    ]


TO_RUN = [block for block in blocks() if block.comment == "runs"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the repository, with a genome where the README's commands expect one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in IN_A_CLONE:
        (folder / name).symlink_to(REPO / name)
    made = write_toy_genome(folder / "toy", seed=1, num_chromosomes=4, chromosome_length=20_000)
    for path, name in zip(made, ("genome.fa.gz", "genome.gff3.gz"), strict=True):
        (folder / name).write_bytes(gzip.compress(path.read_bytes()))
    return folder


def made_small(commands: str) -> str:
    """Add to every command what makes it small."""
    lines = commands.replace("\\\n", " ").splitlines()
    for script, added in ADDED.items():
        lines = [
            f"{line.partition(' #')[0]} {' '.join(added.split())}" if script in line else line
            for line in lines
        ]
    return "\n".join(lines)


def start(block: Block, clone: Path) -> subprocess.Popen[bytes]:
    """Start a block in a process group of its own; what it prints goes to `clone`/line<number>.txt."""
    small = block.text if block.language == "python" else made_small(block.text)
    command = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}[block.language]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DNABERT_NEMO_PYTHON": sys.executable,
        "QUICKSTART_FAST": "1",
        "OMP_NUM_THREADS": "1",
        "PET_STANDALONE": "1",  # torchrun takes a free port, whatever else runs on this machine
    }
    with (clone / f"line{block.line}.txt").open("wb") as printed:
        return subprocess.Popen(
            [*command, small],
            cwd=clone,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes], block: Block, clone: Path) -> None:
    try:
        code = process.wait(timeout=500)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, (clone / f"line{block.line}.txt").read_text()[-6000:]


@pytest.fixture(scope="module", autouse=True)
def two_commands(clone: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The quickstart and the test script, running beside the other blocks to halve the time."""
    process = start(TO_RUN[0], clone)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("block", TO_RUN[1:], ids=lambda block: f"line{block.line}")
def test_commands_run_in_order(block: Block, clone: Path) -> None:
    finish(start(block, clone), block, clone)


def test_the_two_commands_run(two_commands: subprocess.Popen[bytes], clone: Path) -> None:
    assert "scripts/quickstart.sh" in TO_RUN[0].text
    finish(two_commands, TO_RUN[0], clone)


def test_what_comes_out_is_there(clone: Path) -> None:
    """After the commands above: what the README's table lists, by hand and by the quickstart."""
    for folder, name in ((clone, "dnabert_86m"), (clone / "quickstart", "dnabert_tiny")):
        for split in ("train", "validation", "test"):
            assert (folder / "shards" / split / "manifest.json").is_file()
            assert (folder / "splice" / f"{split}.csv").is_file()
        for run in (name, "splice"):
            assert (folder / "runs" / run / "checkpoints" / f"{run}.nemo").is_file()
            assert "loss" in (folder / "runs" / run / "train_log.txt").read_text()
        assert "GT/AG rule" in (folder / "report" / "report.md").read_text()
        assert (folder / "report" / "report.json").is_file()


def test_every_block_runs_or_says_why_not() -> None:
    for block in blocks():
        assert block.comment == "runs" or block.comment.startswith("does not run: "), (
            f"README.md, line {block.line}"
        )


def test_every_file_it_names_is_there() -> None:
    named = set(re.findall(r"\b(?:conf|docs|examples|scripts|tests)/[\w./]*\w", README))
    assert named
    assert [name for name in sorted(named) if not (REPO / name).exists()] == []
