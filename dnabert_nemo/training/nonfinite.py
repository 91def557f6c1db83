"""Ends a run whose loss or gradient is no longer a number, with what it takes to see that step again."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dnabert_nemo.errors import TrainingError

log = logging.getLogger("dnabert_nemo")


class NonFiniteSteps(Callback):
    """Lets `tolerance` non-finite steps in a row pass, which change nothing, and raises at the next.

    An overflow that fp16's loss scale answers by falling is none of them; one at the lowest scale is. All
    ranks see the same loss and norm, so all raise. Lightning calls checkpoints last, so none is written then.
    """

    def __init__(self, tolerance: int) -> None:
        self.tolerance = tolerance
        self.in_a_row = 0
        self._first_sample = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._first_sample = int(pl_module.consumed_samples)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a step that was not finite.

        Raises:
            TrainingError: they are more than is tolerated; it names the step and its samples.
        """
        optimizer: Any = pl_module.optimizer
        if optimizer.outcome != "non-finite":
            self.in_a_row = 0
            return
        self.in_a_row += 1
        what = (
            f"step {trainer.global_step} is not finite: loss {pl_module.last_loss:g}, gradient norm "
            f"{_told(optimizer.grad_norm)}{_at_scale(optimizer.loss_scale)}, samples {self._first_sample} to "
            f"{int(pl_module.consumed_samples) - 1}; the weights are those before it"
        )
        if self.in_a_row <= self.tolerance:
            log.info("%s", what)
            return
        raise TrainingError(
            f"{what}. trainer.nonfinite_tolerance={self.tolerance} in a row pass: a lower "
            "model.optim.lr or a longer warmup_steps may help"
            f"{_other_precision(optimizer.loss_scale)}; docs/training.md tells how to see this batch again. "
            "The same command goes on from the last checkpoint"
        )


def _told(norm: float | None) -> str:
    return "infinite or nan" if norm is None else f"{norm:g}"


def _at_scale(scale: float | None) -> str:
    return "" if scale is None else f", loss scale {scale:g}"


def _other_precision(scale: float | None) -> str:
    return "" if scale is None else ", or trainer.precision=32, where nothing overflows at 65,504"
