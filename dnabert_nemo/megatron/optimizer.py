"""Megatron's optimizer as a torch one: Lightning counts its steps, schedulers set its rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

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
        for group in self.megatron.param_groups:  # Megatron leaves this product to a scheduler of its own
            group["weight_decay"] = settings.weight_decay * group["wd_mult"]
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

    def sharded_state(
        self, model: dict[str, Any], metadata: dict[str, Any], *, loading: bool
    ) -> dict[str, Any]:
        """Describe the state to write, or the room to read it into; `model` is the stage's own
        description.
        """
        sharded = self._sharded_torch_adam()
        if loading and sharded is not None and not sharded.optimizer.state:
            for group in sharded.optimizer.param_groups:
                for parameter in group["params"]:
                    zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                    sharded.optimizer.state[parameter] = {"step": torch.tensor(0.0), **zeros}
        return self.megatron.sharded_state_dict(model, is_loading=loading, metadata=metadata)

    def load_sharded_state(self, state: dict[str, Any]) -> None:
        """Take what was read into the room that `sharded_state` described."""
        sharded = self._sharded_torch_adam()
        if sharded is None:
            self.megatron.load_state_dict(state)
            return
        sharded.load_state_dict({key: value for key, value in state.items() if key != "param_state"})
        # Megatron has now put one tensor that counts the steps under every parameter, each of which would
        # add to it; and what it reads next must not ask the file for a count per parameter.
        steps = [of_parameter.pop("step") for of_parameter in sharded.optimizer.state.values()]
        sharded.load_parameter_state_from_fully_reshardable(state["param_state"])
        for of_parameter, step in zip(sharded.optimizer.state.values(), steps, strict=True):
            of_parameter["step"] = step.clone()

    def _sharded_torch_adam(self) -> Any:
        """Megatron's distributed optimizer over torch's Adam, the one pair it cannot load; else None.

        With Apex or Transformer Engine the steps are counted by group, and Megatron makes room itself.
        """
        (optimizer,) = self.megatron.chained_optimizers
        is_pair = isinstance(optimizer, DistributedOptimizer) and isinstance(
            optimizer.optimizer, torch.optim.Adam | torch.optim.AdamW
        )
        return optimizer if is_pair else None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the state is sharded and travels through `checkpoint`."""
        return {}
