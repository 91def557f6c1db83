"""Ends a run whose loss or gradient is no longer a number, with what it takes to see that step again."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dnabert_nemo.errors import TrainingError

log = logging.getLogger("dnabert_nemo")


class NonFiniteSteps(Callback):
    """Lets `tolerance` non-finite steps in a row pass, which change nothing, and raises at the next.

    An overflow that fp16's loss scale answers by falling is none of them; one at the lowest scale is. All
    ranks see the same loss and norm, so all raise. The steps are looked at when figures are reported, so that
    a GPU need not be waited for in each, and before a checkpoint, so that none is written after a bad one.
    """

    def __init__(self, tolerance: int) -> None:
        self.tolerance = tolerance
        self.in_a_row = 0
        self._first_sample = 0
        self._steps: list[
            tuple[int, int, int]
        ] = []  # since they were looked at: number, first and last sample

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._first_sample = int(pl_module.consumed_samples)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the steps, if it is time.

        Raises:
            TrainingError: more in a row than is tolerated were not finite; it names the step and its samples.
        """
        module: Any = pl_module
        self._steps.append((trainer.global_step, self._first_sample, int(module.consumed_samples) - 1))
        if module.is_reported or not torch.cuda.is_available():
            self._look(module.optimizer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the steps that a checkpoint is to be written after.

        Raises:
            TrainingError: as after a step.
        """
        module: Any = pl_module
        self._look(module.optimizer)

    def _look(self, optimizer: Any) -> None:
        for (step, first, last), outcome in zip(self._steps, optimizer.take_outcomes(), strict=True):
            self._count(step, first, last, outcome, optimizer.loss_scale)
        self._steps = []

    def _count(self, step: int, first: int, last: int, outcome: Any, loss_scale: float | None) -> None:
        if outcome.kind != "non-finite":
            self.in_a_row = 0
            return
        self.in_a_row += 1
        what = (
            f"step {step} is not finite: loss {outcome.loss:g}, gradient norm "
            f"{_told(outcome.grad_norm)}{_at_scale(loss_scale)}, samples {first} to "
            f"{last}; the weights are those before it"
        )
        if self.in_a_row <= self.tolerance:
            log.info("%s", what)
            return
        raise TrainingError(
            f"{what}. trainer.nonfinite_tolerance={self.tolerance} in a row pass: a lower "
            "model.optim.lr or a longer warmup_steps may help"
            f"{_other_precision(loss_scale)}; docs/training.md tells how to see this batch again. "
            "The same command goes on from the last checkpoint"
        )


def _told(norm: float | None) -> str:
    return "infinite or nan" if norm is None else f"{norm:g}"


def _at_scale(scale: float | None) -> str:
    return "" if scale is None else f", loss scale {scale:g}"


def _other_precision(scale: float | None) -> str:
    return "" if scale is None else ", or trainer.precision=32, where nothing overflows at 65,504"
