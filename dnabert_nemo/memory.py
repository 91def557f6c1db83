"""The memory of a process, as the system counts it."""

from __future__ import annotations

import resource
from pathlib import Path


def status_bytes(name: str, pid: int | str = "self") -> int:
    """Return what Linux says in bytes of a process under one of the names of `proc_pid_status(5)`.

    Raises:
        OSError: there is no such process, or no /proc.
        KeyError: it has no such line.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def peak_resident() -> int:
    """Return the most bytes that have been resident in this process.

    Of getrusage(2) the maximum would not do, where there is another: it begins at the size of whoever started
    the command.
    """
    try:
        return status_bytes("VmHWM")
    except FileNotFoundError:  # macOS, which counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
