"""The process that the commands of `commands.py` are forked from: it has imported what most of them import.

A fork turns into what an interpreter would be at the start of the command, runs it, and ends as one.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

HEAVY = (
    "torch",
    "lightning.pytorch",
    "nemo.core",
    "nemo.utils.exp_manager",
    "megatron.core.dist_checkpointing.strategies.torch",
    "megatron.core.models.bert.bert_lm_head",
    "megatron.core.pipeline_parallel.schedules",
    "sklearn.linear_model",
    "sklearn.metrics",
)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return it in the fork, and None at the end of those who ask.

    With a request come the ends of three pipes: for the command's stdout, its stderr, and what becomes of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch the commands
    while True:
        line, pipes, *_ = socket.recv_fds(requests, 2**20, 3)
        if not line:
            return None
        if os.fork() == 0:
            requests.close()
            _begin(*pipes)
            return json.loads(line)
        for pipe in pipes:
            os.close(pipe)


def _begin(stdout: int, stderr: int, report: int) -> None:
    """Return in a fork that writes to these pipes; this process stays behind to tell its id and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(stdout)
        os.close(stderr)
        os.write(report, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for pipe in (stdout, stderr, report):
        os.close(pipe)


def run(arguments: Sequence[str], cwd: str, environment: dict[str, str]) -> None:
    """Do what `python ARGUMENTS` does in that folder and environment."""
    import numpy as np

    np.random.seed()  # each fork has the state of the server; `random` sees to that itself
    sys.excepthook = _from_the_script_on
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if arguments[0] == "-m":
        sys.path[0], sys.argv = os.getcwd(), list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.realpath(arguments[0])), list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def _from_the_script_on(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without what an interpreter does not have below the script."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    for name in HEAVY:
        importlib.import_module(name)
    sys.stdout.flush()
    gc.freeze()  # a fork that looks through all of this for garbage would have to copy it
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        run(**asked)
