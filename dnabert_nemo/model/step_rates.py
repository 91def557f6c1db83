"""What training does in a second, how much of it is waiting for data, and the memory it takes."""

from __future__ import annotations

import time
from collections import Counter

import torch
from lightning.pytorch.profilers import Profiler

from dnabert_nemo.memory import peak_resident

_WAITS_IN = "train_dataloader_next"  # Lightning's name for the training loop's call of the loader


class DataWait(Profiler):
    """Adds up the time the training loop waits for its loader; Lightning tells its profiler of each call."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds, self._began = 0.0, 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith(_WAITS_IN):
            self._began = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(_WAITS_IN):
            self._seconds += time.perf_counter() - self._began

    def take(self) -> float:
        """Return the seconds waited since they were last taken."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class StepRates:
    """Amounts and the time they took, from one report to the next; pauses, as for validation, left out."""

    def __init__(self) -> None:
        self._amounts: Counter[str] = Counter()
        self._seconds, self._began = 0.0, time.perf_counter()

    def add(self, **amounts: int) -> None:
        """Count what a step had."""
        self._amounts.update(amounts)

    def pause(self) -> None:
        self._seconds += time.perf_counter() - self._began

    def resume(self) -> None:
        self._began = time.perf_counter()

    def take(self) -> tuple[Counter[str], float]:
        """Return the amounts and the seconds since they were last taken."""
        self.pause()
        taken = self._amounts, self._seconds
        self._amounts, self._seconds = Counter(), 0.0
        self.resume()
        return taken


def peak_memory_gib() -> float:
    """Return the most memory this rank has held: torch's on its GPU, or the process's own on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return peak_resident() / 2**30
