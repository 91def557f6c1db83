"""A plan in print: the run in a few lines, the ranks in a table, and whether they fit a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.training.plan import Plan, RankPlan

_UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}


def as_json(planned: Plan) -> dict[str, Any]:
    """Give a plan as plain values: counts, and bytes."""
    return asdict(planned)


def report_lines(planned: Plan) -> Iterator[str]:
    """Describe a plan: the run in a few lines, then a line for the ranks of each pipeline stage."""
    yield from _run_lines(planned)
    yield ""
    yield from _table(planned)
    yield ""
    most = planned.largest
    shared, whole = _megabytes(most.optimizer_shared), _megabytes(most.optimizer_whole)
    over = "data x context" if planned.sizes.context > 1 else "data"
    over += " rank" if planned.shards == 1 else " ranks"
    yield (
        f"optimizer, stage {most.stage}: {shared} MB if distributed over {planned.shards} {over} "
        f"(distributed_fused_adam), {whole} MB if not"
    )
    yield "MB are 10^6 bytes. Not counted: what CUDA, NCCL and kernels take for themselves, and fragmentation"


def _run_lines(planned: Plan) -> Iterator[str]:
    shape, sizes, step = planned.shape, planned.sizes, planned.step
    vocabulary = f"vocabulary {shape.vocab_size:,} padded to {shape.padded_vocab_size:,}"
    layers = f"{shape.num_layers} layers of {shape.hidden_size:,}"
    yield f"{planned.name}: {planned.parameters:,} parameters, {layers}, {planned.k}-mers, {vocabulary}"
    axes = sizes.describe(planned.num_ranks)
    yield f"{planned.num_ranks} ranks: {axes}; {planned.precision}; {planned.optimizer}"
    rows = f"{step.global_batch_size:,} rows of {step.tokens_per_row:,}"
    tokens = f"{planned.tokens:,} tokens, about {planned.samples:,} samples, {planned.flops:.3g} FLOPs"
    yield f"a step: {rows} = {tokens}"
    batches = "1 micro batch" if planned.micro_batches == 1 else f"{planned.micro_batches:,} micro batches"
    yield f"on a data rank: {batches} of {step.micro_batch_size:,} x {step.tokens_per_row:,} tokens"
    if sizes.pipeline > 1:
        runs = f" x {sizes.virtual} runs of layers" if sizes.virtual > 1 else ""
        share = f"{sizes.pipeline - 1} / ({batches}{runs}) = {planned.bubble:.1%}"
        yield f"pipeline bubble: {share} more time than the work takes"
    yield f"recomputation: {_recomputation(planned.recompute)}"


def _recomputation(recompute: Recompute) -> str:
    if recompute.granularity is None:
        return "none"
    if recompute.granularity == "selective":
        return "selective, of what is between QKV and projection"
    return f"full, {recompute.method}, {recompute.num_layers} layer{'' if recompute.num_layers == 1 else 's'}"


def _table(planned: Plan) -> Iterator[str]:
    """Lay out the ranks in columns as wide as what is in them."""
    has_gathered = planned.sizes.sequence_parallel
    head = ["stage", "ranks", "layers", "parameters", "weights", "gradients", "optimizer", "in flight"]
    head += ["activations", "recomputed", *(["gathered"] if has_gathered else []), "MB in all"]
    rows = [head, *(_cells(rank, has_gathered) for rank in planned.ranks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _cells(rank: RankPlan, has_gathered: bool) -> list[str]:
    is_one = rank.first_rank == rank.last_rank
    return [
        str(rank.stage),
        str(rank.first_rank) if is_one else f"{rank.first_rank}-{rank.last_rank}",
        "+".join(map(str, rank.layers)),
        f"{rank.parameters:,}",
        *map(_megabytes, (rank.weights, rank.gradients, rank.optimizer)),
        str(rank.passes_in_flight),
        *map(_megabytes, (rank.activations, rank.recomputed)),
        *([_megabytes(rank.gathered)] if has_gathered else []),
        _megabytes(rank.total),
    ]


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f}"


def memory_of(text: str) -> int:
    """Read a device's memory, such as 80GB or 141GiB, in bytes.

    Raises:
        ConfigError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|GiB|MB|MiB)", text)
    if found is None:
        raise ConfigError(f"--device-memory {text}: give a size such as 80GB or 80GiB")
    return round(float(found[1]) * _UNITS[found[2]])


def check_fit(planned: Plan, memory: int) -> str:
    """Say how much of a device's memory is left.

    Raises:
        ConfigError: the largest rank does not fit.
    """
    most = planned.largest
    needed = f"a rank of stage {most.stage} needs {most.total / 1e9:,.1f} of {memory / 1e9:,.1f} GB"
    if most.total > memory:
        raise ConfigError(f"{needed}: {remedy(planned)}")
    return f"{needed}: it fits, with {1 - most.total / memory:.0%} left"


def remedy(planned: Plan) -> str:
    """Name what would take the most off the largest rank."""
    most = planned.largest
    if most.activations + most.recomputed < most.weights + most.gradients + most.optimizer:
        split = "raise model.tensor_model_parallel_size or model.pipeline_model_parallel_size"
        if most.optimizer > most.optimizer_shared:
            return f"pass model.optim.name=distributed_fused_adam, or {split}"
        return split
    if planned.sizes.tensor > 1 and not planned.sizes.sequence_parallel:
        return "pass model.sequence_parallel=true"
    if planned.recompute.granularity != "full":
        return (
            "pass model.activations_checkpoint_granularity=full model.activations_checkpoint_method=uniform "
            "model.activations_checkpoint_num_layers=1, or raise model.context_parallel_size"
        )
    return "lower model.micro_batch_size or model.data.tokens_per_row, or raise model.context_parallel_size"
