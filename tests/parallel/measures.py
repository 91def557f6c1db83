"""What else the ranks measure of a layout: dropout, the optimizer's memory, streams; `ranks` calls it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from golden_curve import GOLDEN_CURVE
from layouts import ONE_RANK, Layout
from ranks import MAX_POSITIONS, ROWS, SEED, TOKENS_PER_ROW, Trainer, stage, steps

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.streaming import StreamedSteps
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.attention import segments
from dnabert_nemo.megatron.engine import whole_counts
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.shards.remote import RemoteSet


def dropout() -> dict[str, bool]:
    """Compare, between two ranks, what dropout makes of the same input."""

    def same_on_both(tensor: torch.Tensor) -> bool:
        both: list[Any] = [None, None]
        dist.all_gather_object(both, tensor.detach())
        return bool(torch.equal(*both))

    num_tokens = 64
    one, none = torch.zeros(1, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    ids, positions = torch.full((num_tokens,), 9), torch.zeros(num_tokens, dtype=torch.int64)
    batch = MicroBatch(ids, positions, (num_tokens,), one, one, none, none, none, num_tokens, 1)
    query = torch.randn(num_tokens, 2, 16, generator=torch.Generator().manual_seed(1))
    found = {}
    for name, sizes in (
        ("TP", ParallelSizes(2, 1)),
        ("SP", ParallelSizes(2, 1, True)),
        ("DP", ParallelSizes()),
    ):
        module = stage(Layout(2, sizes), dropout=0.5).train()
        seen: dict[str, torch.Tensor] = {}
        module.embedding.register_forward_hook(lambda _, __, out, seen=seen: seen.update(embedding=out))
        module.encoder.register_forward_hook(lambda _, __, out, seen=seen: seen.update(encoder=out))
        module(batch)
        if not sizes.sequence_parallel:  # which draws attention's dropout inside the block's own random state
            core = module.encoder.layers[0].self_attention.core_attention
            seen["attention"] = core(query, query, query, None, packed_seq_params=segments((num_tokens,)))
        found |= {f"{name} {place}": same_on_both(out) for place, out in seen.items()}
        assert seen["embedding"].eq(0).any(), "no dropout took place"
    return found


def losses_under_dropout(folder: Path, num_draws: int = 12) -> dict[str, list[float]]:
    """Measure the loss of one step again and again with dropout, in each way that two ranks share a model."""
    losses: dict[str, list[float]] = {}
    for sizes in (
        ParallelSizes(),
        ParallelSizes(2),
        ParallelSizes(2, 1, True),
        ParallelSizes(1, 2),
        ParallelSizes(context=2),
    ):
        layout = Layout(2, sizes)
        trainer = Trainer(layout, stage(layout, dropout=0.3))
        [batch] = steps(folder, 1)
        sums = [trainer.sums(batch, training=True) for _ in range(num_draws)]
        losses[layout.name] = [float(each[0] / each[1]) for each in sums]
    return losses


def optimizer_bytes() -> dict[str, int]:
    """Measure the optimizer's state on a rank of two, with and without sharding it over them."""
    held = {}
    for distributed in (False, True):
        layout = Layout(2, ParallelSizes(), distributed_optimizer=distributed)
        trainer = Trainer(layout, stage(layout))
        for parameter in trainer.module.parameters():
            parameter.main_grad.fill_(1.0)
        trainer.optimizer.step()
        held[layout.name] = trainer.optimizer.state_bytes()
    return held


def curve(folder: Path) -> list[float]:
    """Train on one rank for as many steps as the golden curve has, and return the losses."""
    trainer = Trainer(ONE_RANK, stage(ONE_RANK))
    for batch in steps(folder, len(GOLDEN_CURVE)):
        trainer.take(batch)
    return trainer.losses


def streamed(folder: Path) -> dict[str, Any]:
    """Stream shards on two data ranks; return what each knows of every step, and what both are told of it."""
    topology.start(ParallelSizes(), SEED)
    steps = StreamedSteps(
        RemoteSet.open(str(folder / "small" / "train"), 3),
        StepShape(ROWS, 1, TOKENS_PER_ROW, MAX_POSITIONS),
        masking=Masking(MaskRule(3)),
        seed=SEED,
        data_parallel_rank=topology.data_rank(),
        data_parallel_size=topology.data_size(),
    )
    own = []
    whole = []
    for step in islice(steps, 40):
        own.append((step.consumed_samples, step.num_tokens))
        whole.append(whole_counts(step))
    on_every_rank: list[Any] = [None, None]
    dist.all_gather_object(on_every_rank, (own, whole))
    return {"own": [each[0] for each in on_every_rank], "whole": [each[1] for each in on_every_rank]}
