"""examples/benchmark_checkpoint.py at a tiny size: its rows, the file it writes, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmark_checkpoint.py"
TINY = (
    "shape.num_layers=1",
    "shape.hidden_size=32",
    "shape.ffn_hidden_size=64",
    "shape.num_attention_heads=2",
    "tokens=64",
    "repeats=1",
)


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "benchmark_checkpoint", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_table_is_printed_and_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    done = run(tmp_path, *TINY, "scratch_dir=scratch", "output=table.md")
    assert done.returncode == 0, done.stderr
    for row in (
        "blocks training",
        "waited for, with checksums",
        "while one is written",
        "comparing all bytes",
    ):
        assert row in done.stdout
    assert done.stdout.strip() in (tmp_path / "table.md").read_text()
    assert not any((tmp_path / "scratch").iterdir())


def test_folders_that_are_not_there_are_told_of_at_once(tmp_path: Path) -> None:
    for override in ("scratch_dir=absent", "output=absent/table.md"):
        done = run(tmp_path, override)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {override}")
