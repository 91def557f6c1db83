"""The optimizer as a config asks for it: checked from the config alone, before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dnabert_nemo.errors import ConfigError

NAMES = ("adamw", "fused_adam", "distributed_fused_adam")


def number(key: str, value: object, *, least: float = -math.inf, below: float = math.inf) -> float:
    """Take a number from `least` up to but not including `below`; raise ConfigError that names its key."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < below:  # type: ignore[operator]
        high = "" if below == math.inf else f" and below {below:g}"
        raise ConfigError(f"{key}={value}: give a number of at least {least:g}{high}")
    return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW as BERT is trained with it.

    All three are torch's fused kernel, over Megatron's fp32 main weights. `adamw` and `fused_adam`, NeMo's
    name, are the same; of `distributed_fused_adam` the state is shared out over the data-parallel ranks. A
    gradient longer than `clip_grad` is shortened to it, 0 for never. With `layer_decay` d below one the rate
    of layer l of L is d^(L + 1 - l) of the schedule's, of the embedding d^(L + 1), and of a head the whole
    (Clark et al. 2020, arXiv:2003.10555, for fine-tuning).

    Raises:
        ConfigError: a value that cannot work, by the name of its key.
    """

    name: str = "fused_adam"
    lr: float = 2e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip_grad: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"model.optim.name={self.name} is not known: choose one of {', '.join(NAMES)}")
        for key in ("lr", "eps"):
            if number(f"model.optim.{key}", getattr(self, key), least=0) == 0:
                raise ConfigError(f"model.optim.{key}={getattr(self, key)} must be above 0")
        number("model.optim.weight_decay", self.weight_decay, least=0)
        if len(self.betas) != 2:
            raise ConfigError(f"model.optim.betas={list(self.betas)}: give two numbers, as in [0.9,0.98]")
        for place, beta in enumerate(self.betas):
            number(f"model.optim.betas[{place}]", beta, least=0, below=1)
        if not 0 < number("model.optim.layer_decay", self.layer_decay) <= 1:
            raise ConfigError(
                f"model.optim.layer_decay={self.layer_decay}: give a number above 0, up to 1 for no decay"
            )
        if number("trainer.gradient_clip_val", self.clip_grad, least=0) == math.inf:
            raise ConfigError("trainer.gradient_clip_val=inf: give 0 for no clipping")

    @property
    def distributed(self) -> bool:
        return self.name == "distributed_fused_adam"

    @classmethod
    def of(cls, optim: Mapping[str, Any], clip_grad: Any) -> OptimizerSettings:
        """Read `model.optim`, without its schedule, and `trainer.gradient_clip_val`.

        Raises:
            ConfigError: an unknown key, or a value that cannot work.
        """
        given = {key: value for key, value in optim.items() if key != "sched"}
        known = {field.name for field in fields(cls)} - {"clip_grad"}
        for key in given:
            if key not in known:
                raise ConfigError(f"model.optim.{key} is no key of an optimizer: they are {sorted(known)}")
        if "betas" in given:
            if isinstance(given["betas"], str | int | float | None):
                raise ConfigError(f"model.optim.betas={given['betas']}: give two numbers, as in [0.9,0.98]")
            given["betas"] = tuple(given["betas"])
        return cls(**given, clip_grad=clip_grad)


@dataclass(frozen=True)
class LossScaling:
    """The dynamic loss scale of fp16: it starts high, halves at overflows and doubles after calm steps.

    Small gradients would be zero in fp16, so the loss is multiplied before the backward pass and the
    gradients are divided after it (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740).

    Args:
        initial: the scale of the first step.
        growth_interval: steps in a row without an overflow after which the scale doubles.
        hysteresis: overflows after which it halves, and then at each further one until it has doubled again.
    """

    initial: float = 2.0**32
    growth_interval: int = 1000
    hysteresis: int = 2
    minimum: float = 1.0

    def __post_init__(self) -> None:
        number("model.native_amp_init_scale", self.initial, least=self.minimum)
        for key, value in (
            ("model.native_amp_growth_interval", self.growth_interval),
            ("model.hysteresis", self.hysteresis),
        ):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{key}={value}: give a whole number of at least 1")
