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
    if parallel_state.is_initialized() and running_sizes() != _of_groups(sizes):
        _end_groups()
    if not parallel_state.is_initialized():
        parallel_state.initialize_model_parallel(
            sizes.tensor,
            sizes.pipeline,
            virtual_pipeline_model_parallel_size=sizes.virtual if sizes.virtual > 1 else None,
            context_parallel_size=sizes.context,
        )
    seed_ranks(seed)


def is_started() -> bool:
    """Whether Megatron's process groups exist in this process."""
    return bool(parallel_state.is_initialized())


def running_sizes() -> tuple[int, int, int, int]:
    """The (tensor, pipeline, virtual, context) sizes of the groups that were started."""
    return (
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_pipeline_model_parallel_world_size(),
        parallel_state.get_virtual_pipeline_model_parallel_world_size() or 1,
        parallel_state.get_context_parallel_world_size(),
    )


def _end_groups() -> None:
    """Leave the groups there are: Megatron ends some and forgets the others, with the threads of each."""
    groups = parallel_state._global_process_group_list or ()
    parallel_state.destroy_model_parallel()
    for group in groups:
        if group is not None and group in dist.distributed_c10d._world.pg_map:
            dist.destroy_process_group(group)


def _of_groups(sizes: ParallelSizes) -> tuple[int, int, int, int]:
    return (sizes.tensor, sizes.pipeline, sizes.virtual, sizes.context)


def seed_ranks(seed: int) -> None:
    """Seed this rank by (seed, pipeline, data and context rank), and Megatron's tracker by tensor rank too.

    What tensor-parallel peers compute alike (dropout on whole hidden states) draws from the default
    generator; what they split (attention dropout, sequence-parallel regions) from the tracker, which differs
    by tensor rank.
    """
    stage_seed = seed + 100 * pipeline_rank() + 10_000 * (data_rank() * context_size() + context_rank())
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


def tensor_group() -> dist.ProcessGroup:
    """The ranks that share this rank's layers."""
    return parallel_state.get_tensor_model_parallel_group()  # type: ignore[no-any-return]


def pipeline_rank() -> int:
    return int(parallel_state.get_pipeline_model_parallel_rank())


def data_rank() -> int:
    return int(parallel_state.get_data_parallel_rank())


def data_size() -> int:
    return int(parallel_state.get_data_parallel_world_size())


def context_rank() -> int:
    return int(parallel_state.get_context_parallel_rank())


def context_size() -> int:
    return int(parallel_state.get_context_parallel_world_size())


def num_runs() -> int:
    """Runs of layers that each pipeline rank holds."""
    return int(parallel_state.get_virtual_pipeline_model_parallel_world_size() or 1)


def is_first_stage(run: int = 0) -> bool:
    """Whether the model begins with this run of layers of this rank."""
    return run == 0 and bool(parallel_state.is_pipeline_first_stage(ignore_virtual=True))


def is_last_stage(run: int = 0) -> bool:
    """Whether the model ends with this run of layers of this rank."""
    return run == num_runs() - 1 and bool(parallel_state.is_pipeline_last_stage(ignore_virtual=True))


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


def sum_over_token_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Add up over the ranks that hold other tokens, data- and context-parallel, in place."""
    dist.all_reduce(tensor, group=parallel_state.get_data_parallel_group(with_context_parallel=True))
    return tensor
