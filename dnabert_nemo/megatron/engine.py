"""A training step: Megatron's schedule over this rank's micro batches, and the gradients it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from megatron.core.transformer.module import Float16Module, MegatronModule

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.bert import Runs, Stage

Loss = Callable[[torch.Tensor, Any], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def data_parallel(module: Stage | Runs, *, distributed_optimizer: bool) -> torch.nn.ModuleList:
    """Wrap each stage for training: weights in its config's type, gradients summed over data ranks in fp32.

    Returns:
        What was made of each run of layers of this rank, in order.
    """
    config = module.config
    config.finalize_model_grads_func = _finish_gradients
    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=distributed_optimizer,
        overlap_grad_reduce=torch.cuda.is_available(),
    )
    wrapped = [
        DistributedDataParallel(config, ddp_config, in_model_precision(stage), disable_bucketing=run > 0)
        for run, stage in enumerate(stages(module))
    ]
    no_sync = [each.no_sync for each in wrapped]
    config.no_sync_func = no_sync if len(no_sync) > 1 else no_sync[0]
    return torch.nn.ModuleList(wrapped)


def _finish_gradients(
    model: list[DistributedDataParallel], num_places: torch.Tensor | None = None, **settings: Any
) -> None:
    """Sum the gradients over the ranks and divide them by the places of the whole step.

    Megatron's own division asks on the host whether there are any, and waits for the device to know.
    """
    finalize_model_grads(model, None, **settings)
    if num_places is None:
        return
    places = topology.sum_over_token_ranks(topology.broadcast_from_last_stage(num_places))
    for stage in model:
        stage.scale_gradients(1.0 / places.clamp(min=1))


def stages(module: torch.nn.Module) -> list[Any]:
    """Return the stages of this rank, one or one for each of its runs of layers."""
    return list(module) if isinstance(module, torch.nn.ModuleList) else [module]


def in_model_precision(module: MegatronModule) -> MegatronModule:
    """Cast a stage to the 16-bit type of its config, with fp32 outputs; an fp32 stage stays as it is."""
    config = module.config
    return Float16Module(config, module) if config.bf16 or config.fp16 else module


def whole_counts(step: StepBatch) -> tuple[int, int]:
    """Return how many samples are consumed after a step, and the step's tokens, over all data ranks.

    A rank that streams its shards knows only its own. Masked tokens need no such care: `run_step` sums them.
    """
    if step.is_whole:
        return step.consumed_samples, step.num_tokens
    consumed = torch.tensor(step.consumed_samples, device=topology.device())
    num_tokens = torch.tensor(step.num_tokens, device=topology.device())
    return int(topology.least_over_data_ranks(consumed)), int(topology.sum_over_data_ranks(num_tokens))


def run_step(
    model: torch.nn.Module,
    micro_batches: Sequence[Any],
    loss: Loss,
    *,
    hidden_tokens: int,
    num_sums: int,
    training: bool,
) -> torch.Tensor:
    """Run forward (and backward when training) over all micro batches and return the step's sums [num_sums].

    The gradient is that of the summed loss divided by its count over the whole step, all data ranks
    together. The sums are those of `loss`, added over micro batches and data ranks and known to every rank
    of the pipeline.

    Args:
        model: what this rank holds; for training, wrapped by `data_parallel`.
        micro_batches: this data rank's micro batches, the same on its tensor and pipeline peers.
        loss: maps the last stage's output and its micro batch to (summed loss, count, sums).
        hidden_tokens: T, the packed tokens of a micro batch.
    """

    def forward(batches: Any, stage: MegatronModule) -> tuple[torch.Tensor, Callable[..., Any]]:
        batch = _own_tokens(next(batches))

        def measure(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
            summed, count, sums = loss(output, batch)
            return summed, count, {"sums": sums}

        return stage(batch), measure

    runs = stages(model)
    measured = get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=[iter(micro_batches) for _ in runs],
        model=runs,
        num_microbatches=len(micro_batches),
        seq_length=hidden_tokens,
        micro_batch_size=1,
        forward_only=not training,
    )
    sums = torch.zeros(num_sums, dtype=torch.double, device=topology.device())
    for micro_batch in measured:
        sums += micro_batch["sums"]
    return topology.sum_over_token_ranks(topology.broadcast_from_last_stage(sums))


def _own_tokens(batch: Any) -> Any:
    """Under context parallelism every rank takes as many tokens of the row, in the order of the ranks."""
    if topology.context_size() == 1:
        return batch
    count = batch.ids.numel() // topology.context_size()
    return batch.part(topology.context_rank() * count, count)
