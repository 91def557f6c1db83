"""Rows of our own training: each a way to do the same step, from padded rows to all that makes it fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dnabert_nemo.bench.padded import POSITIONS
from dnabert_nemo.bench.throughput.samples import (
    Data,
    Setting,
    Step,
    in_padded_rows,
    mean_attended,
    samples_of,
)
from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.engine import Loss
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.trial import Trial

OPTIMIZER = OptimizerSettings(name="distributed_fused_adam")  # as in conf/dnabert_86m.yaml


@dataclass(frozen=True)
class Way:
    """How a step of ours is done.

    Args:
        is_padded: each sample in a row of its own, not packed.
        at_every_token: the head maps all tokens to logits, not the masked ones alone.
        last_layer_where_read: the last layer computes those tokens alone.
    """

    is_padded: bool = False
    at_every_token: bool = False
    last_layer_where_read: bool = True
    kernels: Kernels = field(default_factory=Kernels)


def ablation(best: Kernels) -> dict[str, Way]:
    """Return the ways by name, each with all that the one before it has, up to all there is.

    Args:
        best: what this device's choice of kernels is.
    """
    ways = {
        "padded": Way(is_padded=True, at_every_token=True, last_layer_where_read=False),
        "packed": Way(at_every_token=True, last_layer_where_read=False),
        "+ head at masked tokens alone": Way(last_layer_where_read=False),
        "+ last layer where it is read": Way(),
    }
    used = Kernels()
    for piece in ("dropout", "attention", "norm", "gelu", "cross_entropy"):
        kernel = getattr(best, piece)
        if kernel != getattr(used, piece):
            used = replace(used, **{piece: kernel})
            ways[f"+ {piece.replace('_', ' ')}: {kernel}"] = Way(kernels=used)
    return ways


def compiled(best: Kernels) -> dict[str, Way]:
    """Return what may stand in place of the device's choice of kernels: layers by torch.compile."""
    names = {"compiled": "layers by torch.compile", "graphs": "layers by torch.compile, as CUDA graphs"}
    return {name: Way(kernels=replace(best, layer=layer)) for layer, name in names.items()}


def all_of(best: Kernels) -> Way:
    """Return the last way of the ablation."""
    return list(ablation(best).values())[-1]


@dataclass(frozen=True)
class OurTraining:
    """A row of ours: what its process needs to know."""

    data: Data
    setting: Setting
    way: Way
    sizes: ParallelSizes = field(default_factory=ParallelSizes)

    def load(self) -> list[Step]:
        """Start Megatron's groups and make this rank's steps."""
        topology.start(self.sizes, self.setting.seed)
        return self.data.steps(topology.data_rank(), topology.data_size())

    def start(self, steps: Sequence[Step]) -> OurSteps:
        """Make the model and its optimizer."""
        return OurSteps(self, steps)


class OurSteps:
    """Training steps of ours, on batches that are on the device."""

    def __init__(self, work: OurTraining, steps: Sequence[Step]) -> None:
        way, setting = work.way, work.setting
        if way.kernels.layer == "graphs" and topology.device().type == "cpu":
            raise ConfigError("CUDA graphs need a GPU")
        self.num_micro_batches = len(steps[0])
        self.mean_attended = mean_attended([samples_of(step) for step in steps])
        masked = _masked_share(steps)
        self.head_share = 1.0 if way.at_every_token else masked
        self.read_share = masked if way.last_layer_where_read and not way.at_every_token else 1.0
        # of what all ranks add up to: the ranks of one copy of the model all hold the same tokens
        self._share = topology.data_size() / dist.get_world_size()
        if way.is_padded:
            steps = [tuple(in_padded_rows(batch, POSITIONS) for batch in step) for step in steps]
        if way.at_every_token:
            steps = [tuple(map(_at_every_token, step)) for step in steps]
        self._steps = [tuple(batch.to(topology.device()) for batch in step) for step in steps]
        self._trial = Trial(
            setting.shape,
            k=work.data.k,
            precision=setting.precision,
            sizes=work.sizes,
            kernels=way.kernels,
            optimizer=OPTIMIZER,
            seed=setting.seed,
            last_layer_where_read=way.last_layer_where_read,
        )
        if way.at_every_token:
            self._trial.loss = _of_asked(self._trial.loss)

    def step(self, number: int) -> tuple[float, Tensor]:
        """Take a step; return this rank's share of its tokens, without padding, and its loss."""
        step = self._steps[number % len(self._steps)]
        sums = self._trial.step(step)
        return self._share * sum(batch.num_tokens for batch in step), sums[0] / sums[1]


def _masked_share(steps: Sequence[Step]) -> float:
    batches = [batch for step in steps for batch in step]
    return sum(len(batch.masked_at) for batch in batches) / sum(batch.num_tokens for batch in batches)


@dataclass(frozen=True)
class EveryToken(MicroBatch):
    """A micro batch whose every token the head maps to logits; the loss is that of those asked for."""

    asked: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # int64 [M], of T


def _at_every_token(batch: MicroBatch) -> EveryToken:
    values: dict[str, Any] = {each.name: getattr(batch, each.name) for each in fields(batch)}
    values["masked_at"] = torch.arange(batch.ids.numel())
    return EveryToken(**values, asked=batch.masked_at)


def _of_asked(loss: Loss) -> Loss:
    def picked(logits: Tensor, batch: EveryToken) -> tuple[Tensor, Tensor, Tensor]:
        return loss(logits.index_select(0, batch.asked), batch)

    return picked
