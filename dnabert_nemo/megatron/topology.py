"""The ranks of a run: starting Megatron's groups and random states, and where this rank stands."""

from __future__ import annotations

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from dnabert_nemo.megatron import cpu
from dnabert_nemo.megatron.sizes import ParallelSizes


def device() -> torch.device:
    """The device this rank computes on: its CUDA device where there is one, else the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def start(sizes: ParallelSizes, seed: int) -> None:
    """Start the model-parallel groups over the ranks of the default process group, and seed every rank.

    Without a default group this process becomes a group of its own, which needs neither network nor launcher.
    Starting again with the same sizes only seeds again; other sizes replace the groups.
    """
    if not torch.cuda.is_available():
        cpu.enter()
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo", store=dist.HashStore(), rank=0, world_size=1
        )
    if parallel_state.is_initialized() and running_sizes() != (sizes.tensor, sizes.pipeline):
        parallel_state.destroy_model_parallel()
    if not parallel_state.is_initialized():
        parallel_state.initialize_model_parallel(sizes.tensor, sizes.pipeline)
    seed_ranks(seed)


def is_started() -> bool:
    """Whether Megatron's process groups exist in this process."""
    return bool(parallel_state.is_initialized())


def running_sizes() -> tuple[int, int]:
    """The (tensor, pipeline) sizes of the groups that were started."""
    return (
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_pipeline_model_parallel_world_size(),
    )


def seed_ranks(seed: int) -> None:
    """Seed this rank by (seed, pipeline rank, data rank), and Megatron's tracker by tensor rank too.

    What tensor-parallel peers compute alike (dropout on whole hidden states) draws from the default
    generator; what they split (attention dropout, sequence-parallel regions) from the tracker, which differs
    by tensor rank.
    """
    stage_seed = seed + 100 * pipeline_rank() + 10_000 * data_rank()
    torch.manual_seed(stage_seed)
    tensor_parallel.model_parallel_cuda_manual_seed(stage_seed, force_reset_rng=True)


def rng_state() -> dict[str, torch.Tensor]:
    """All generator states of this rank, by name."""
    tracked = tensor_parallel.get_cuda_rng_tracker().get_states()
    states = {f"tracker.{name}": state for name, state in tracked.items()}
    states["cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_rng_state(states: dict[str, torch.Tensor]) -> None:
    """Put back what `rng_state` returned."""
    prefix = "tracker."
    tracked = {name.removeprefix(prefix): state for name, state in states.items() if name.startswith(prefix)}
    tensor_parallel.get_cuda_rng_tracker().set_states(tracked)
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def tensor_rank() -> int:
    return int(parallel_state.get_tensor_model_parallel_rank())


def pipeline_rank() -> int:
    return int(parallel_state.get_pipeline_model_parallel_rank())


def data_rank() -> int:
    return int(parallel_state.get_data_parallel_rank())


def data_size() -> int:
    return int(parallel_state.get_data_parallel_world_size())


def is_first_stage() -> bool:
    return bool(parallel_state.is_pipeline_first_stage())


def is_last_stage() -> bool:
    return bool(parallel_state.is_pipeline_last_stage())


def broadcast_from_last_stage(tensor: torch.Tensor) -> torch.Tensor:
    """Give every pipeline stage the last stage's values, in place."""
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        dist.broadcast(
            tensor,
            parallel_state.get_pipeline_model_parallel_last_rank(),
            group=parallel_state.get_pipeline_model_parallel_group(),
        )
    return tensor


def least_over_data_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Take the least of the data-parallel ranks' values, in place."""
    dist.all_reduce(tensor, op=dist.ReduceOp.MIN, group=parallel_state.get_data_parallel_group())
    return tensor


def sum_over_data_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Add up over the data-parallel ranks, in place."""
    dist.all_reduce(tensor, group=parallel_state.get_data_parallel_group())
    return tensor
