"""The learning rate of every step, as a function of its number: checked and told from the config alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.optimizer_settings import number

COSINE, WSD, LINEAR = "CosineAnnealing", "WSD", "WarmupAnnealing"  # the first and last are NeMo's names
NAMES = (COSINE, WSD, LINEAR)

# What is left of the way from lr down to min_lr when a share x of the decay has passed.
DECAY_STYLES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    "minus_sqrt": lambda x: 1 - math.sqrt(x),
}


@dataclass(frozen=True)
class ScheduleSettings:
    """Warm-up to the optimizer's rate, decay to `min_lr`, and `constant_steps` at it.

    CosineAnnealing and WarmupAnnealing decay from the end of the warm-up on, by a cosine (Loshchilov and
    Hutter 2017, https://arxiv.org/abs/1608.03983) and along a line; WSD stays at the full rate and decays
    over the `decay_steps` before the constant ones (Hu et al. 2024, https://arxiv.org/abs/2404.06395;
    `minus_sqrt` is Haegele et al. 2024, https://arxiv.org/abs/2405.18392).

    Raises:
        ConfigError: a value that cannot work, by the name of its key.
    """

    name: str = COSINE
    warmup_steps: int = 0
    constant_steps: int = 0
    min_lr: float = 0.0
    decay_steps: int | None = None
    decay_style: str | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            known = ", ".join(NAMES)
            raise ConfigError(f"model.optim.sched.name={self.name} is not known: choose one of {known}")
        for key in ("warmup_steps", "constant_steps"):
            _whole(key, getattr(self, key), least=0)
        number("model.optim.sched.min_lr", self.min_lr, least=0)
        if self.name == WSD:
            _whole("decay_steps", self.decay_steps, least=1)
            if self.decay_style not in DECAY_STYLES:
                raise ConfigError(
                    f"model.optim.sched.decay_style={self.decay_style} is not known: choose one of "
                    f"{', '.join(DECAY_STYLES)}"
                )
            return
        for key in ("decay_steps", "decay_style"):
            if getattr(self, key) is not None:
                raise ConfigError(
                    f"model.optim.sched.{key}={getattr(self, key)} is {WSD}'s: with "
                    f"model.optim.sched.name={self.name} leave it null"
                )

    @classmethod
    def of(cls, sched: Mapping[str, Any]) -> ScheduleSettings:
        """Read `model.optim.sched`.

        Raises:
            ConfigError: an unknown key, or a value that cannot work.
        """
        known = [field.name for field in fields(cls)]
        for key in sched:
            if key not in known:
                raise ConfigError(
                    f"model.optim.sched.{key} is no key of a schedule: they are {', '.join(known)}"
                )
        return cls(**sched)

    def check(self, *, lr: float, max_steps: int) -> None:
        """Raise ConfigError where the schedule does not fit the run or the optimizer's rate."""
        if self.warmup_steps > max_steps:
            raise ConfigError(
                f"model.optim.sched.warmup_steps={self.warmup_steps} is more than "
                f"trainer.max_steps={max_steps}: shorten the warm-up or lengthen the run"
            )
        if self.warmup_steps + (self.decay_steps or 0) + self.constant_steps > max_steps:
            decay = "" if self.decay_steps is None else f" + decay_steps={self.decay_steps}"
            raise ConfigError(
                f"model.optim.sched.warmup_steps={self.warmup_steps}{decay} + "
                f"constant_steps={self.constant_steps} is more than trainer.max_steps={max_steps}: shorten "
                "them or lengthen the run"
            )
        if self.min_lr > lr:
            raise ConfigError(
                f"model.optim.sched.min_lr={self.min_lr} is more than model.optim.lr={lr}: lower it"
            )

    def rate(self, step: int, *, lr: float, max_steps: int) -> float:
        """Return the learning rate of the step that `step` steps came before.

        Warm-up is lr (step + 1) / (warmup_steps + 1); NeMo's CosineAnnealing with a constant tail has
        lr step / warmup_steps, the first step at 0, and so has this one.
        """
        if step > max_steps:
            return self.min_lr
        if self.warmup_steps and step <= self.warmup_steps:
            if self.name == COSINE and self.constant_steps:
                return lr * step / self.warmup_steps
            return lr * (step + 1) / (self.warmup_steps + 1)
        end = max_steps - self.constant_steps
        if self.constant_steps and step > end:
            return self.min_lr
        start = self.warmup_steps if self.decay_steps is None else end - self.decay_steps
        if step <= start:
            return lr
        left = DECAY_STYLES[self.decay_style or ("cosine" if self.name == COSINE else "linear")]
        return self.min_lr + (lr - self.min_lr) * left((step - start) / (end - start))


def _whole(key: str, value: object, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"model.optim.sched.{key}={value}: give a whole number of at least {least}")
