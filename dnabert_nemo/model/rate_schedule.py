"""A schedule's rates put into the optimizer, step by step, in the form Lightning and checkpoints know."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from dnabert_nemo.megatron.schedules import ScheduleSettings

log = logging.getLogger("dnabert_nemo")


class RateSchedule(LRScheduler):
    """Sets every group's rate to its share (`lr_mult`) of that of the step to come.

    Where it stands is the number of steps alone.

    So a run that is gone on with takes the rates of its own config. Lightning's and NeMo's would take the
    checkpoint's, and a run lengthened by trainer.max_steps would stay at the lowest rate without a word.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: ScheduleSettings, *, lr: float, max_steps: int
    ) -> None:
        settings.check(lr=lr, max_steps=max_steps)
        self.settings, self.lr, self.max_steps = settings, lr, max_steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        rate = self.settings.rate(self.last_epoch, lr=self.lr, max_steps=self.max_steps)
        return [rate * group.get("lr_mult", 1.0) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were taken, and the rate that is next, by which a change is noticed."""
        return {"last_epoch": self.last_epoch, "rate": max(self.get_lr())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after so many steps."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        for group, own in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = own
        rate = max(self._last_lr)
        if rate != state_dict.get("rate", rate):
            log.info(
                "the schedule has changed: step %d has the rate %.3e, the checkpoint had %.3e",
                self.last_epoch + 1,
                rate,
                state_dict["rate"],
            )
