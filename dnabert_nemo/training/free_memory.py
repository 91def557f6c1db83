"""The memory that this process may still take before the machine swaps or a batch system ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

# By a control group's controller, of versions 2 and 1: the files of its limit and of what it uses, and what
# memory.stat calls its file pages that the system gives up first.
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the free bytes of the machine, or of this process's control group, if it has fewer."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups(root, own)])


def _left_in_groups(root: Path, own: Path) -> Iterator[int]:
    if not own.exists():  # as on macOS
        return
    for line in own.read_text().splitlines():
        _, controller, path = line.split(":", 2)
        if controller not in _FILES:
            continue
        limit_file, used_file, reclaimable = _FILES[controller]
        top = root / controller
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            if (each / limit_file).exists():
                limit = (each / limit_file).read_text().strip()
                if limit != "max":
                    statistics = dict(one.split() for one in (each / "memory.stat").read_text().splitlines())
                    used = int((each / used_file).read_text()) - int(statistics[reclaimable])
                    yield max(0, int(limit) - used)
            if each == top:
                break
