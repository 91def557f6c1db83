"""What a pre-training config comes to on each rank, told from the config alone: neither data nor torch.

The arithmetic of a rank is in `plan_memory`; `plan_report` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import composed
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.data.sampling import MIN_TOKENS
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.flops import flops_per_token
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.check import check_but_data, sizes_of
from dnabert_nemo.training.data_config import masking, step_shape
from dnabert_nemo.training.launch import Launch
from dnabert_nemo.training.plan_memory import (
    Activations,
    States,
    most_in_flight,
    parameters_of_stage,
)
from dnabert_nemo.training.precision import PRECISIONS

_AUTO = {"gpu": "bf16", "cpu": "fp32"}  # what trainer.precision=auto comes to, on Ampere and later
_NEED_NOT_BE = {"model.data.train", "model.data.validation"}


@dataclass(frozen=True)
class RankPlan:
    """A rank of one pipeline stage; those of the stage are alike. All but counts are bytes."""

    stage: int
    first_rank: int
    last_rank: int
    layers: tuple[int, ...]  # of each run
    parameters: int
    copied_parameters: int  # of them, the last stage's copy of the embedding
    weights: int
    gradients: int
    optimizer: int  # as the config has it: shared out over data ranks, or not
    optimizer_shared: int
    optimizer_whole: int
    passes_in_flight: (
        int  # forward passes, through all of the rank's layers or a run of them, not yet answered
    )
    activations: int  # of those, at the most
    recomputed: int  # activations that come back in the backward pass, of one run of layers at a time
    gathered: int  # the buffer of sequence parallelism
    total: int


@dataclass(frozen=True)
class Plan:
    """A pre-training run as its config has it."""

    name: str
    k: int
    shape: BertShape
    parameters: int
    sizes: ParallelSizes
    num_ranks: int
    data_size: int
    recompute: Recompute
    precision: str
    optimizer: str
    shards: int  # ranks over which a distributed optimizer shares out its state
    step: StepShape
    tokens: int  # a step
    samples: int  # a step, about
    micro_batches: int  # a step, on each data rank
    bubble: float  # idle time of a pipeline's ranks, as a share of their work's
    flops: int  # a step
    ranks: tuple[RankPlan, ...]

    @property
    def largest(self) -> RankPlan:
        return max(self.ranks, key=lambda rank: rank.total)


def plan(
    config_name: str,
    overrides: Sequence[str],
    accelerator: str = "gpu",
    config_dir: str | Path | None = None,
) -> Plan:
    """Plan a run from its config.

    Raises:
        ConfigError: as `checked` has it.
    """
    cfg, launched = checked(config_name, overrides, config_dir)
    return plan_of(cfg, launched.num_ranks, accelerator)


def checked(
    config_name: str, overrides: Sequence[str], config_dir: str | Path | None = None
) -> tuple[DictConfig, Launch]:
    """Compose a config of pre-training without its data; return it and its ranks.

    Raises:
        ConfigError: as the run would, for anything but its data; or the config is not one of pre-training.
    """
    cfg = composed(config_name, overrides, config_dir)
    if OmegaConf.select(cfg, "model.data.tokens_per_row", throw_on_missing=False) is None:
        raise ConfigError(
            f"--config-name {config_name} is no config of pre-training, which is what can be planned: name "
            "one such as dnabert_86m"
        )
    missing = sorted(OmegaConf.missing_keys(cfg) - _NEED_NOT_BE)
    if missing:
        raise ConfigError(f"no value for {', '.join(missing)}: pass {missing[0]}=VALUE on the command line")
    launched = Launch(cfg.trainer.devices, cfg.trainer.num_nodes)  # whatever launcher runs this command
    check_but_data(cfg, launched)
    return cfg, launched


def plan_of(cfg: DictConfig, num_ranks: int, accelerator: str = "gpu") -> Plan:
    """Plan a run from a config that has been checked, but for its data."""
    model = cfg.model
    shape, sizes, recompute, step = BertShape.of(model), sizes_of(cfg), Recompute.of(model), step_shape(cfg)
    optimizer = OptimizerSettings.of(model.optim, cfg.trainer.gradient_clip_val)
    asked = str(cfg.trainer.precision)
    precision = PRECISIONS.get(asked, _AUTO[accelerator])
    data_size = sizes.data(num_ranks)
    micro_batches = step.global_batch_size // (step.micro_batch_size * data_size)
    activations = Activations(
        shape=shape,
        sizes=sizes,
        recompute=recompute,
        precision=precision,
        tokens=step.micro_batch_size * step.tokens_per_row,
        masked_share=masking(cfg).rule.share,
        accelerator=accelerator,
    )
    # Megatron shares the state out over context ranks too, which hold the same weights
    shards = data_size * sizes.context
    tokens = step.global_batch_size * step.tokens_per_row
    mean_length, mean_attended = _lengths(step, model.data.length_mix)
    return Plan(
        name=str(cfg.name),
        k=model.tokenizer.k,
        shape=shape,
        parameters=shape.num_parameters(),
        sizes=sizes,
        num_ranks=num_ranks,
        data_size=data_size,
        recompute=recompute,
        precision=precision,
        optimizer=optimizer.name,
        shards=shards,
        step=step,
        tokens=tokens,
        samples=round(tokens / mean_length),
        micro_batches=micro_batches,
        bubble=(sizes.pipeline - 1) / (micro_batches * sizes.virtual),
        flops=round(tokens * flops_per_token(shape, mean_attended, activations.read_share)),
        ranks=tuple(
            _rank(activations, stage, num_ranks, shards, optimizer.distributed, micro_batches)
            for stage in range(sizes.pipeline)
        ),
    )


def _rank(
    activations: Activations, stage: int, num_ranks: int, shards: int, distributed: bool, micro_batches: int
) -> RankPlan:
    shape, sizes, precision = activations.shape, activations.sizes, activations.precision
    parameters = parameters_of_stage(shape, sizes, stage)
    shared, whole = (States.of(parameters.total, precision, each) for each in (shards, 1))
    states = shared if distributed else whole
    held, passes = most_in_flight(activations.runs(stage), stage, sizes.pipeline, micro_batches)
    of_stage = num_ranks // sizes.pipeline  # Megatron counts tensor, context and data ranks first
    return RankPlan(
        stage=stage,
        first_rank=stage * of_stage,
        last_rank=(stage + 1) * of_stage - 1,
        layers=sizes.layers_of_rank(shape.num_layers, stage),
        parameters=parameters.total,
        copied_parameters=parameters.copied,
        weights=states.weights,
        gradients=states.gradients,
        optimizer=states.optimizer,
        optimizer_shared=shared.optimizer,
        optimizer_whole=whole.optimizer,
        passes_in_flight=passes,
        activations=held,
        recomputed=activations.recomputed,
        gathered=activations.gathered,
        total=states.total + held + activations.recomputed + activations.gathered,
    )


def _lengths(step: StepShape, length_mix: str) -> tuple[float, float]:
    """Return the mean length of samples, and that of the segment a token is in, by how samples are drawn."""
    if length_mix == "full":
        return step.max_positions, step.max_positions
    lengths = range(MIN_TOKENS + NUM_ENDS, step.max_positions + 1)
    once, twice = (
        0.2 * step.max_positions**power + 0.8 * sum(length**power for length in lengths) / len(lengths)
        for power in (1, 2)
    )
    return once, twice / once
