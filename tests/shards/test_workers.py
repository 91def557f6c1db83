"""What the writer's processes do when the run that started them is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

RUN = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from dnabert_nemo.shards.workers import _end_with_parent
context = multiprocessing.get_context("spawn")
with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_of_a_killed_run_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        assert _is_running(worker)
        run.kill()
        run.wait()
    deadline = time.monotonic() + 20
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(worker)
