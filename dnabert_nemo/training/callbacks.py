"""What happens around the steps: plain lines for those who watch, and memory handed back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class ReturnedMemory(Callback):
    """Hands freed memory back to the system every ten steps of a run on CPUs.

    Packed segments differ in length from step to step, and glibc keeps what they leave: 20 MB more each step.
    """

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._trim is not None and trainer.global_step % 10 == 0:
            self._trim(0)


class PlainLines(Callback):
    """Writes a line of figures every n steps to a file, and to standard output that is no terminal."""

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path, self.every_n_steps = path, every_n_steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            training = {k: v for k, v in trainer.callback_metrics.items() if not k.startswith("val_")}
            self._write(trainer, f"step {trainer.global_step}/{trainer.max_steps}", training)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            validation = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val_")}
            self._write(trainer, f"step {trainer.global_step} validation", validation)

    def _write(self, trainer: Trainer, title: str, metrics: dict[str, torch.Tensor]) -> None:
        if not trainer.is_global_zero:
            return
        line = "  ".join([title, *(f"{name} {_figure(name, value)}" for name, value in metrics.items())])
        if not sys.stdout.isatty():
            print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")


def _figure(name: str, value: torch.Tensor) -> str:
    number = float(value)
    if name == "lr":
        return f"{number:.3e}"
    return (
        f"{number:,.0f}"
        if abs(number) >= 1000 or name.endswith(("samples", "bases", "tokens", "_steps", "_scale"))
        else f"{number:.6f}"
    )
