"""Megatron's optimizer as a torch one: Lightning counts its steps, schedulers set its rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.optimizer import (
    MegatronOptimizer,
    OptimizerConfig,
    get_megatron_optimizer,
    get_standard_config_overrides,
)
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer_config import ParamKey, ParamPredicate
from megatron.core.transformer.transformer_layer import TransformerLayer

from dnabert_nemo.megatron import optimizer_shards
from dnabert_nemo.megatron.optimizer_settings import LossScaling, OptimizerSettings


class Outcome(NamedTuple):
    """What became of a step.

    Args:
        kind: the weights have changed (stepped), or have not: under fp16 the gradient overflowed and the loss
            scale was lowered (overflow); or loss or gradient is infinite or no number, and no lower scale
            would help (non-finite).
        loss: as `step` was told it.
        grad_norm: before clipping, over all ranks; None after an overflow.
    """

    kind: Literal["stepped", "overflow", "non-finite"]
    loss: float
    grad_norm: float | None


class _Taken(NamedTuple):
    """A step whose outcome has not been read: on the device, its loss and its norm, if it came to one."""

    loss: torch.Tensor
    norm: torch.Tensor | None
    is_overflow: bool


class MegatronAdamW(torch.optim.Optimizer):
    """Steps Megatron's optimizer: fp32 main weights, global clipping, no decay of biases and norms.

    A step waits for nothing that the device computes: a loss or gradient that is no number leaves the weights
    as they are by a flag on the device. What became of the steps is read by `take_outcomes`, or for the last
    one by `last`; that waits. (fp16's overflows are Megatron's to find, which waits in every step.)
    """

    def __init__(
        self, model: torch.nn.ModuleList, settings: OptimizerSettings, scaling: LossScaling | None = None
    ) -> None:
        config = model[0].config
        self._scaling = scaling or LossScaling()
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
                initial_loss_scale=self._scaling.initial,
                min_loss_scale=self._scaling.minimum,
                loss_scale_window=self._scaling.growth_interval,
                hysteresis=self._scaling.hysteresis,
                use_distributed_optimizer=settings.distributed,
            ),
            list(model),
            _rate_shares(model, settings.layer_decay),
        )
        for each in self.megatron.chained_optimizers:
            _use_torchs_kernel(each, settings)
        for group in self.megatron.param_groups:  # Megatron leaves products to a scheduler of its own
            group["weight_decay"] = settings.weight_decay * group["wd_mult"]
            group["lr"] = settings.lr * group["lr_mult"]
        config.grad_scale_func = self.megatron.scale_loss if config.fp16 else None
        self._model = model
        self._device = next(iter(model.parameters())).device
        self._is_fp16 = config.fp16
        self._clip_grad = settings.clip_grad
        self._taken: list[_Taken] = []  # since the device was read last
        self._read: list[Outcome] = []  # and not taken yet
        self._last = Outcome("stepped", math.nan, None)
        self._num_skipped = 0
        super().__init__(self.megatron.get_parameters(), {"lr": settings.lr})

    @property
    def loss_scale(self) -> float | None:
        """What the loss of the next step is multiplied by before the backward pass; None but under fp16."""
        return float(self.megatron.get_loss_scale()) if self._is_fp16 else None

    def state_bytes(self) -> int:
        """Bytes this rank holds for a stepped optimizer: moments, and fp32 main weights if any."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self._model.parameters()}
        total = 0
        for each in self.megatron.chained_optimizers:
            if each.is_stub_optimizer:
                continue
            for of_parameter in each.optimizer.state.values():
                total += sum(t.nbytes for t in of_parameter.values() if isinstance(t, torch.Tensor))
            for group in each.optimizer.param_groups:
                total += sum(p.nbytes for p in group["params"] if p.untyped_storage().data_ptr() not in own)
        return total

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
        for stage in self._model:
            stage.zero_grad_buffer()
        self.megatron.zero_grad(set_to_none)

    @property
    def last(self) -> Outcome:
        """What became of the last step."""
        self._read_device()
        return self._last

    @property
    def num_skipped(self) -> int:
        """How many steps have changed nothing."""
        self._read_device()
        return self._num_skipped

    @num_skipped.setter
    def num_skipped(self, count: int) -> None:
        self._read_device()
        self._num_skipped = count

    def take_outcomes(self) -> list[Outcome]:
        """Return what became of each step since this was last asked, in order."""
        self._read_device()
        outcomes, self._read = self._read, []
        return outcomes

    def _read_device(self) -> None:
        """Wait for the steps that were taken, in one copy."""
        if not self._taken:
            return
        figures = torch.stack(
            [torch.stack([t.loss, t.loss if t.norm is None else t.norm]) for t in self._taken]
        )
        for taken, (loss, norm) in zip(self._taken, figures.tolist(), strict=True):
            if taken.norm is None:
                self._last = Outcome("overflow" if taken.is_overflow else "non-finite", loss, None)
            else:
                is_finite = math.isfinite(loss) and math.isfinite(norm)
                self._last = Outcome("stepped" if is_finite else "non-finite", loss, norm)
            self._num_skipped += self._last.kind != "stepped"
            self._read.append(self._last)
        self._taken = []

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], Any] | None = None, *, loss: torch.Tensor | None = None
    ) -> Any:
        """Clip and step, or leave the weights as they are, alike on every rank.

        Megatron's own step would apply a gradient that is no number: NaN is not above the norm to clip to.

        Args:
            loss: of this step, on the device; one that is not finite is not learned from.
        """
        result = closure() if closure is not None else None
        loss = torch.zeros((), device=self._device) if loss is None else loss.float()
        scale = self.loss_scale
        if self.megatron.prepare_grads():
            is_overflow = scale is not None and scale > self._scaling.minimum
            self._taken.append(_Taken(loss, None, is_overflow))
            return result
        norm = self._norm()
        skips = (~(norm.isfinite() & loss.isfinite())).float()
        for each in self.megatron.chained_optimizers:
            if each.is_stub_optimizer:
                continue
            if self._clip_grad > 0:
                gradients = [p.grad for p in each.get_parameters() if p.grad is not None]
                torch._foreach_mul_(gradients, (self._clip_grad / (norm + 1e-6)).clamp(max=1.0))
            each.optimizer.found_inf = skips  # by torch's name; its fused step then changes nothing
        self.megatron.step_with_ready_grads()
        self._taken.append(_Taken(loss, norm, False))
        return result

    def _norm(self) -> torch.Tensor:
        """Return the norm of the gradient over all ranks, on the device; Megatron's own waits for it."""
        parts = [each.get_main_grads_for_grad_norm() for each in self.megatron.chained_optimizers]
        norms = torch._foreach_norm([gradient for part in parts for gradient in part])
        squared = torch.stack(norms).square().sum() if norms else torch.zeros((), device=self._device)
        dist.all_reduce(squared, group=self.megatron.get_grad_stats_parallel_group())
        return squared.sqrt()

    def sharded_state(
        self, model: dict[str, Any], metadata: dict[str, Any], *, loading: bool
    ) -> dict[str, Any]:
        """Describe the state to write, or the room to read it into; `model` is the stage's own
        description.
        """
        fresh = self._make_moments(only_sharded=loading)
        sharded = self._sharded_torch_adam()
        if sharded is not None and not loading:
            return optimizer_shards.sharded_state(sharded, model)
        with ExitStack() as stack:
            for each in self.megatron.chained_optimizers:
                for buffer in getattr(each, "buffers", ()):
                    stack.enter_context(_closed_up(buffer))
            described = self.megatron.sharded_state_dict(model, is_loading=loading, metadata=metadata)
        if fresh and not loading:
            moments = described.get("optimizer", described)["state"]
            moments["common_step"] = torch.tensor(0.0)  # which Megatron leaves out, and then misses
        return dict(described)

    def _make_moments(self, *, only_sharded: bool) -> bool:
        """Give torch's Adam the moments it starts with, which it makes only in its first step."""
        made = False
        for each in self.megatron.chained_optimizers:
            if each.is_stub_optimizer or not isinstance(each.optimizer, torch.optim.Adam | torch.optim.AdamW):
                continue
            if each.optimizer.state or (only_sharded and each is not self._sharded_torch_adam()):
                continue
            for group in each.optimizer.param_groups:
                for parameter in group["params"]:
                    zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                    each.optimizer.state[parameter] = {"step": torch.tensor(0.0), **zeros}
                    made = True
        return made

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
            # where a fused kernel wants it
            of_parameter["step"] = step.to(of_parameter["exp_avg"].device, copy=True)

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


def _rate_shares(model: torch.nn.ModuleList, layer_decay: float) -> dict[ParamKey, Any] | None:
    """Say which parameters have which share of the schedule's rate, beside what Megatron says by itself."""
    if layer_decay == 1.0:
        return None
    config = model[0].config
    depths = {id(p): depth for stage in model for p, depth in _depths(stage)}
    shares: dict[ParamKey, Any] = get_standard_config_overrides(OptimizerConfig())
    for depth in range(config.num_layers + 1):
        name = f"depth_{depth}"
        is_there = ParamPredicate(name=name, fn=lambda p, depth=depth: depths.get(id(p)) == depth)
        shares[ParamKey(predicate=is_there)] = {"lr_mult": layer_decay ** (config.num_layers + 1 - depth)}
    return shares


def _depths(stage: torch.nn.Module) -> Iterator[tuple[torch.nn.Parameter, int]]:
    """Walk over the parameters of the embedding, depth 0, and of the layers, counted over all stages."""
    for module in stage.modules():
        if isinstance(module, LanguageModelEmbedding):
            yield from ((parameter, 0) for parameter in module.parameters())
        elif isinstance(module, TransformerLayer):
            yield from ((parameter, module.layer_number) for parameter in module.parameters())


@contextmanager
def _closed_up(buffer: Any) -> Iterator[None]:
    """Let a buffer of Megatron's say where its parameters are as if its buckets had no padding at their ends.

    The distributed optimizer's state is gathered without that padding, and then cut into parameters by their
    places with it: after the first padded bucket every one is of other numbers, without a word. A bucket ends
    at a shared embedding or at 40 M parameters, and is padded to a multiple of 128 and the data ranks.
    """
    padded = buffer.param_index_map
    padding = [bucket.grad_data.numel() - bucket.numel_unpadded for bucket in buffer.buckets]
    before = [0, *accumulate(padding)]
    buffer.param_index_map = {
        parameter: (start - before[bucket], end - before[bucket], bucket)
        for parameter, (start, end, bucket) in padded.items()
    }
    try:
        yield
    finally:
        buffer.param_index_map = padded


def _use_torchs_kernel(megatron: Any, settings: OptimizerSettings) -> None:
    """Run torch's fused AdamW whatever else is installed: it alone skips a step by a flag on the device."""
    if megatron.is_stub_optimizer:
        return
    groups = megatron.optimizer.param_groups
    if not isinstance(megatron.optimizer, torch.optim.AdamW):
        megatron.optimizer = torch.optim.AdamW(
            [torch.zeros(1)], lr=settings.lr, betas=settings.betas, eps=settings.eps
        )
        # set, as Megatron does: a shard is a view of a weight, which the constructor would refuse
        megatron.optimizer.param_groups = [{**megatron.optimizer.defaults, **group} for group in groups]
    for group in megatron.optimizer.param_groups:
        group["fused"] = True
