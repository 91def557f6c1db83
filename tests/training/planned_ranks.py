"""Builds what single ranks of many layouts hold and measures it, for test_plan_memory.py; prints JSON.

One process stands for any rank: torch's fake process group moves nothing between ranks, so that sums are
wrong and sizes are right.
"""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch.testing._internal.distributed.fake_pg import FakeStore

from dnabert_nemo.data.masked_kmers import masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.data.sampling import SAMPLE
from dnabert_nemo.kernels.choose import Device, choose
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS
from dnabert_nemo.megatron import bert, engine, topology
from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.losses import MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

LENGTH, NUM_SEGMENTS = 64, 8
SHAPE = {
    "num_layers": 8,
    "hidden_size": 64,
    "ffn_hidden_size": 256,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
}


@dataclass(frozen=True)
class Case:
    """A rank to look at; `sizes`, `recompute` and `shape` are the arguments of those classes."""

    num_ranks: int
    rank: int
    sizes: dict[str, Any]
    precision: str
    recompute: tuple[Any, ...]
    shape: dict[str, Any]
    optimizer: str | None


@dataclass(frozen=True)
class Measured:
    """Parameters; bytes that each run of layers leaves; masked places; bytes of gradients and optimizer."""

    parameters: int
    runs: list[int]
    masked: int
    gradients: int = 0
    optimizer: int = 0


class _Saved:
    """A tensor that autograd keeps, and lets go of when it has no use for it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class _PolyA:
    """Reads like a `ShardSet` of nothing but A."""

    def read(self, stretch: int, first: int, count: int) -> np.ndarray:
        return np.full(count, NUM_SPECIALS, dtype=np.uint16)


def _micro_batch() -> Any:
    samples = np.zeros(NUM_SEGMENTS, dtype=SAMPLE)
    samples["length"], samples["mask_key"] = LENGTH - NUM_ENDS, np.arange(NUM_SEGMENTS)
    samples["stretch"] = np.arange(NUM_SEGMENTS)
    shape = StepShape(1, 1, NUM_SEGMENTS * LENGTH, LENGTH)
    return masked_micro_batch([samples], _PolyA(), Masking(MaskRule(3)), shape)


def _left_by(stage: Any, sent: torch.Tensor | None, batch: Any) -> int:
    """Run a stage forward; return the bytes that stay, without weights, with what goes to the next stage."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in stage.parameters()}
    if sent is not None:
        stage.set_input_tensor([sent])
    saved: list[weakref.ref[_Saved]] = []

    def keep(tensor: torch.Tensor) -> _Saved:
        kept = _Saved(tensor)
        saved.append(weakref.ref(kept))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor):
        output = engine.in_model_precision(stage)(batch)
        if stage.post_process:
            output, _, _ = MaskedLMLoss(3)(output, batch)
    alive = [kept.tensor for kept in (each() for each in saved) if kept is not None]
    alive += [] if stage.post_process else [output]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}
    return sum(size for at, size in storages.items() if at not in weights)


def measure(case: Case) -> Measured:
    """Build a rank, run each of its stages forward, and step its optimizer if the case names one."""
    dist.init_process_group("fake", store=FakeStore(), rank=case.rank, world_size=case.num_ranks)
    sizes, shape = ParallelSizes(**case.sizes), BertShape(69, 128, **{**SHAPE, **case.shape})
    topology.start(sizes, 1)
    kernels = choose("auto", Device(None), precision=case.precision).kernels
    config = transformer_config(shape, sizes, case.precision, Recompute(*case.recompute), kernels)
    model = bert.build(lambda run: BertForMaskedLM(config, shape, run)).train()
    batch = engine._own_tokens(_micro_batch())
    rows = batch.ids.numel() // (sizes.tensor if sizes.sequence_parallel else 1)
    runs = []
    for stage in engine.stages(model):
        hidden = torch.randn(rows, 1, shape.hidden_size, dtype=config.params_dtype, requires_grad=True)
        runs.append(_left_by(stage, None if stage.pre_process else hidden, batch))
    found = Measured(sum(p.numel() for p in model.parameters()), runs, batch.labels.numel())
    if case.optimizer is not None:
        settings = OptimizerSettings(case.optimizer)
        wrapped = engine.data_parallel(model, distributed_optimizer=settings.distributed)
        optimizer = MegatronAdamW(wrapped, settings)
        optimizer.zero_grad()
        for parameter in model.parameters():
            parameter.main_grad.normal_()
        optimizer.step()
        gradients = sum(buffer.grad_data.nbytes for each in wrapped for buffer in each.buffers)
        found = Measured(found.parameters, runs, found.masked, gradients, optimizer.state_bytes())
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()
    return found


def main() -> None:
    torch.set_num_threads(1)
    new_group = dist.new_group
    dist.new_group = lambda *ranks, backend=None, **settings: new_group(*ranks, backend="fake", **settings)
    cases = [Case(**case) for case in json.load(sys.stdin)]
    print("MEASURED", json.dumps([asdict(measure(case)) for case in cases]))


if __name__ == "__main__":
    main()
