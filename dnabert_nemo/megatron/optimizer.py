"""Megatron's optimizer as a torch one: Lightning counts its steps, schedulers set its rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer

from dnabert_nemo.errors import ConfigError

NAMES = ("fused_adam", "distributed_fused_adam")


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW as BERT is trained with it; `distributed_fused_adam` shards its state over the data ranks."""

    name: str = "fused_adam"
    lr: float = 2e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip_grad: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"model.optim.name={self.name} is not known: choose one of {', '.join(NAMES)}")
        if self.lr <= 0:
            raise ConfigError(f"model.optim.lr={self.lr} must be above 0")

    @property
    def distributed(self) -> bool:
        return self.name == "distributed_fused_adam"


class MegatronAdamW(torch.optim.Optimizer):
    """Steps Megatron's optimizer: fp32 main weights, global clipping, no decay of biases and norms.

    `grad_norm` is the norm before clipping at the last step, None where a 16-bit overflow made it skip.
    """

    def __init__(self, model: DistributedDataParallel, settings: OptimizerSettings) -> None:
        config = model.config
        self.megatron: MegatronOptimizer = get_megatron_optimizer(
            OptimizerConfig(
                optimizer="adam",
                lr=settings.lr,
                weight_decay=settings.weight_decay,
                adam_beta1=settings.betas[0],
                adam_beta2=settings.betas[1],
                adam_eps=settings.eps,
                clip_grad=settings.clip_grad,
                bf16=config.bf16,
                fp16=config.fp16,
                params_dtype=config.params_dtype,
                use_distributed_optimizer=settings.distributed,
            ),
            [model],
        )
        config.grad_scale_func = self.megatron.scale_loss if config.fp16 else None
        self._model = model
        self.grad_norm: float | None = None
        self.num_skipped = 0
        super().__init__(self.megatron.get_parameters(), {"lr": settings.lr})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Megatron's own groups: setting a learning rate here sets it there."""
        return self.megatron.param_groups

    @param_groups.setter
    def param_groups(self, _: list[dict[str, Any]]) -> None:
        """Keep Megatron's: torch's constructor assigns an empty list here."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Keep Megatron's: torch's constructor adds the parameters it was given here."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradient buffers the backward pass accumulates into."""
        self._model.zero_grad_buffer()
        self.megatron.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Clip and step; under fp16 an overflow skips the step and lowers the loss scale instead."""
        result = closure() if closure is not None else None
        stepped, grad_norm, _ = self.megatron.step()
        self.grad_norm = None if grad_norm is None else float(grad_norm)
        self.num_skipped += not stepped
        return result

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the state is sharded and travels through `checkpoint`."""
        return {}
