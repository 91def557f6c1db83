"""Starts commands as a user does, without the 15 seconds that importing torch and NeMo takes each time.

`start` and `run` take what follows `python` on a command line. The command is forked from a server that has
imported those libraries: see `command_server.py`. Each process of pytest has one, and one more for each other
setting of what an interpreter or a library reads when it starts: `READ_AT_START`. Tests of what a command
imports, holds in memory or takes to start are for `subprocess`.
"""

from __future__ import annotations

import functools
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER = Path(__file__).with_name("command_server.py")
FORKS = not any(Path("/dev").glob("nvidia[0-9]*"))  # CUDA, once looked for, cannot be used in a fork
READ_AT_START = ("PYTHON", "LD_", "OMP_", "MKL_", "OPENBLAS_", "TRITON_", "CUDA_")
READ_LATER = "PYTHONBREAKPOINT"  # which Ray sets in a process that uses it


class Process:
    """A command that was forked from the server, with what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        (self._out, out), (self._err, err), (self._report, report) = os.pipe(), os.pipe(), os.pipe()
        request = {"arguments": self.args, "cwd": str(cwd), "environment": dict(environment)}
        self._server = _server(_read_at_start(environment))
        self._server.ask(request, (out, err, report))
        for end in (out, err, report):
            os.close(end)
        self.pid = self._reported()

    def poll(self) -> int | None:
        """Return the exit code, the negative number of the signal that ended it, or None before its end."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = self._reported()
            os.close(self._report)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read all that it and its children print, wait for its end, and return stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: it takes longer; nothing can be read of it any more.
        """
        end = None if timeout is None else time.monotonic() + timeout
        printed: dict[int, bytearray] = {self._out: bytearray(), self._err: bytearray()}
        with selectors.DefaultSelector() as pipes:
            for pipe in (*printed, *([] if self.returncode is not None else [self._report])):
                pipes.register(pipe, selectors.EVENT_READ)
            while pipes.get_map():
                ready = pipes.select(None if end is None else max(0, end - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for pipe in (key.fd for key, _ in ready):
                    if pipe == self._report:
                        pipes.unregister(pipe)
                        self.poll()
                    elif some := os.read(pipe, 2**16):
                        printed[pipe] += some
                    else:
                        pipes.unregister(pipe)
                        os.close(pipe)
        out, err = (each.decode().replace("\r\n", "\n").replace("\r", "\n") for each in printed.values())
        return out, err

    def _reported(self) -> int:
        line = b""
        while not line.endswith(b"\n"):
            some = os.read(self._report, 1)
            if not some:
                raise RuntimeError(f"the server of commands ended: {self._server.said()}")
            line += some
        return int(line)


class _Server:
    """The process that commands are forked from; it ends when this one does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(its.fileno())],
                env=environment,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # a pipe, as the commands' own will be
                stderr=subprocess.STDOUT,
            )

    def ask(self, request: dict[str, object], pipes: Sequence[int]) -> None:
        socket.send_fds(self._requests, [json.dumps(request).encode()], pipes)

    def said(self) -> str:
        return self._process.communicate(timeout=10)[0].decode()


def _read_at_start(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return what of an environment cannot be given to a fork any more."""
    names = (name for name in environment if name.startswith(READ_AT_START) and name != READ_LATER)
    return frozenset((name, environment[name]) for name in names)


@functools.cache
def _server(of_start: frozenset[tuple[str, str]]) -> _Server:
    rest = {name: value for name, value in os.environ.items() if not name.startswith(READ_AT_START)}
    return _Server({**rest, **dict(of_start)})


def start(
    arguments: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Process | subprocess.Popen[str]:
    """Start `python ARGUMENTS`, one thread a process, with nothing to read on stdin.

    Where there is a GPU that is an interpreter of its own.
    """
    environment = {**(os.environ if env is None else env), "OMP_NUM_THREADS": "1"}
    if not FORKS:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    return Process(arguments, cwd or Path.cwd(), environment)


def run(
    arguments: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end and return its exit code and what it printed."""
    process = start(arguments, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
