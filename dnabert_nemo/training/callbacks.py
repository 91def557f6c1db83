"""What happens around the steps: checkpoints to resume from, and plain lines for those who watch."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoints(ModelCheckpoint):
    """Lightning's checkpoints, as many as asked for also where a run was started again."""

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Lightning would keep the one a run goes on from for good, so each start would leave one more."""
        return previous != current


class LatestCheckpoints(Checkpoints):
    """Keeps the last two checkpoints, every n steps and at the end, to start again from."""

    def __init__(self, folder: Path, every_n_train_steps: int) -> None:
        super().__init__(
            dirpath=folder,
            filename="step={step}",
            auto_insert_metric_name=False,
            monitor="step",
            mode="max",
            save_top_k=2,
            every_n_train_steps=every_n_train_steps,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step too, where the interval does not end on it."""
        if trainer.global_step > self._last_global_step_saved:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


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
        if abs(number) >= 1000 or name.endswith(("samples", "bases", "tokens"))
        else f"{number:.6f}"
    )
