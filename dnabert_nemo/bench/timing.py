"""How long work takes in this process, and what a command takes in its own; the rows are made of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.memory import status_bytes

_SAMPLED_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Timing:
    """Seconds of the best of some repeats, on the clock and of processor time.

    Others on the machine add to the first. The second, over all threads, is what one core would have taken.
    """

    wall: float
    cpu: float


def best_of(repeats: int, work: Callable[[], object]) -> Timing:
    """Do work so many times in this process; return its least seconds, of each clock by itself."""
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*found, strict=True)
    return Timing(min(walls), min(cpus))


@dataclass(frozen=True)
class Measured:
    """What a command took, with all processes it started."""

    timing: Timing
    peak_process: int  # bytes resident, of its largest process
    peak_together: int  # bytes resident, of all its processes at one moment; what they share counts for each
    stdout: str


def run_measured(command: Sequence[str], folder: str | Path) -> Measured:
    """Run a command in a folder to its end, and watch its time and memory.

    Raises:
        ConfigError: it failed; with the last line it printed.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=stderr)
        root = psutil.Process(process.pid)
        peak_process = peak_together = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)  # usage: with the children it waited for
            if pid:
                break
            sizes = _resident(root)
            peak_process = max([peak_process, *(peak for _, peak in sizes)])
            peak_together = max(peak_together, sum(now for now, _ in sizes))
            time.sleep(_SAMPLED_EVERY)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            last = (stderr.read().strip() or "no message").splitlines()[-1]
            raise ConfigError(
                f"{shlex.join(command)} ended with {process.returncode} ({last}): run it by hand"
            )
        timing = Timing(wall, usage.ru_utime + usage.ru_stime)
        return Measured(timing, peak_process, max(peak_together, peak_process), stdout.read())


def _resident(root: psutil.Process) -> list[tuple[int, int]]:
    """Return bytes resident now, and at most so far, of a process and all below it."""
    sizes = []
    try:
        for process in (root, *root.children(recursive=True)):
            now = process.memory_info().rss
            sizes.append((now, max(now, _high_water(process.pid))))
    except psutil.Error:  # one has just ended
        pass
    return sizes


def _high_water(pid: int) -> int:
    try:
        return status_bytes("VmHWM", pid)
    except (OSError, KeyError):  # it has ended, or is about to
        return 0
