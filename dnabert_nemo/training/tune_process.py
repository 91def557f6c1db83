"""The processes of `tune`: a trial is started, watched and ended, and what it found is read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from dnabert_nemo.errors import TrainingError

_EVERY = 0.02  # seconds between two looks at a trial's memory: it grows by less than 0.1 GB meanwhile


@dataclass(frozen=True)
class Request:
    """What a trial is to run.

    Args:
        rows: of a micro batch; 0 asks what the device is, and no more.
        micro_batches: of a step.
        memory: bytes that the device may be used up to; on a CPU the parent process sees to that.
        result: the file to write to.
    """

    config_name: str
    overrides: list[str]
    config_dir: str | None
    rows: int
    micro_batches: int
    memory: int | None
    result: str


def run(request: Request, *, most_resident: int | None = None) -> dict[str, Any]:
    """Run a trial; return what it found, `fits` false where memory did not suffice.

    Args:
        most_resident: bytes of memory at which the process is ended, before the machine swaps or ends it.

    Raises:
        TrainingError: it failed for another reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = replace(request, result=str(Path(folder, "result.json")))
        with (
            Path(folder, "said.txt").open("w+b") as said,
            subprocess.Popen(
                [sys.executable, "-m", "dnabert_nemo.training.tune_trial"],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
            ) as process,
        ):
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(asdict(request)).encode())
                process.stdin.close()
                is_too_large = _watch(process, most_resident)
            finally:
                process.kill()
            process.wait()
            if (
                is_too_large or process.returncode == -signal.SIGKILL
            ):  # ours, or the system's for want of memory
                return {"fits": False}
            if process.returncode != 0:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise TrainingError(
                    f"a trial of model.micro_batch_size={request.rows} failed: {' '.join(last)}"
                )
        found: dict[str, Any] = json.loads(Path(request.result).read_text())
        return found


def _watch(process: subprocess.Popen[bytes], most_resident: int | None) -> bool:
    """Wait for a process to end; return whether it was ended, as it held too much."""
    if most_resident is None:
        process.wait()
        return False
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            if watched.memory_info().rss > most_resident:
                process.kill()
                return True
        except psutil.NoSuchProcess:
            continue
        time.sleep(_EVERY)
    return False
