"""Starts the ranks once for all tests of this folder, and hands out what they wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ranks

NUM_STEPS = 3


@dataclass(frozen=True)
class Results:
    """What the ranks measured, by the name of the check, and the folder they left files in."""

    folder: Path
    measured: dict[str, Any]
    printed: str

    def __getitem__(self, name: str) -> Any:
        if name not in self.measured:
            pytest.fail(f"the ranks wrote no {name!r}; the end of what they printed:\n{self.printed[-6000:]}")
        return self.measured[name]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Train in every layout: on 2 ranks, on 4, and on the one that the others are held against."""
    folder = tmp_path_factory.mktemp("parallel")
    ranks.write_shards(folder)
    printed = ranks.start(folder, NUM_STEPS)
    return Results(folder, ranks.read_results(folder), printed)
