"""Time and memory of work and of commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dnabert_nemo.bench.timing import best_of, run_measured
from dnabert_nemo.errors import ConfigError

HOLDS = "import sys, time; held = b'x' * (64 << 20); time.sleep(0.3); print('held', len(held))"


def test_best_of_repeats_the_work_and_takes_the_least() -> None:
    done: list[int] = []
    timing = best_of(3, lambda: done.append(sum(range(10_000 * (1 + len(done))))))
    assert len(done) == 3
    assert timing.wall > 0
    assert 0 <= timing.cpu < 5


def test_a_command_is_measured_with_the_processes_it_starts(tmp_path: Path) -> None:
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}])"
    done = run_measured([sys.executable, "-c", starts], tmp_path)
    assert done.stdout == f"held {64 << 20}\n"
    assert done.timing.wall > 0.3
    assert done.timing.cpu > 0
    assert 64 << 20 < done.peak_process < done.peak_together < 200 << 20


def test_the_size_of_this_process_is_not_the_commands(tmp_path: Path) -> None:
    held = b"x" * (256 << 20)
    done = run_measured([sys.executable, "-c", "import time; time.sleep(0.3)"], tmp_path)
    assert done.peak_together < len(held)


def test_a_command_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ended with 3 \(no luck\): run it by hand"):
        fails = "import sys; print('first', file=sys.stderr); print('no luck', file=sys.stderr); sys.exit(3)"
        run_measured([sys.executable, "-c", fails], tmp_path)
