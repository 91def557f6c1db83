"""A rank that Lightning started is not left behind when the first one is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

CHILD = (
    "import time; from dnabert_nemo.training.launch import end_with_first_rank as end; "
    "end({'LOCAL_RANK': '1'{more}}); print('up', flush=True); time.sleep({seconds})"
)
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.parametrize(("more", "is_left"), [("", False), (", 'TORCHELASTIC_RUN_ID': 'x'", True)])
def test_it_ends_when_the_process_that_started_it_is_gone(more: str, is_left: bool) -> None:
    child = CHILD.replace("{more}", more).replace("{seconds}", "4" if is_left else "60")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    began = time.monotonic()
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=30)  # returns when the last to hold the pipe has ended
    assert (time.monotonic() - began > 3) == is_left
