"""One trial of `tune`, in a process of its own: some training steps, what they take and how fast they are.

It reads a `Request` from standard input and writes what it found to the request's file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import composed, quiet_imports
from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.data.masked_kmers import tail_segments
from dnabert_nemo.data.packing import NUM_ENDS, pack_step
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.memory import peak_resident
from dnabert_nemo.training.data_config import step_shape
from dnabert_nemo.training.tune import of_device
from dnabert_nemo.training.tune_process import Request

_MOST_OVERFLOWS = (
    64  # steps in which fp16's loss scale finds its height, before which the optimizer has no state
)
_FEW = 3  # micro batches in the longer of the timed steps
_REPEATED = 2  # times each of them


def main() -> None:
    request = Request(**json.load(sys.stdin))
    quiet_imports()
    try:
        found = run(request) if request.rows else device()
    except torch.OutOfMemoryError:
        found = {"fits": False}
    Path(request.result).write_text(json.dumps(found))


def device() -> dict[str, Any]:
    """Return the name of the device and, of a GPU, the bytes that are free and its compute capability."""
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()
        name = f"a CPU, {threads} thread{'' if threads == 1 else 's'}"
        return {"name": name, "memory": None, "capability": None}
    return {
        "name": torch.cuda.get_device_name(),
        "memory": torch.cuda.mem_get_info()[0],
        "capability": torch.cuda.get_device_capability(),
    }


def run(request: Request) -> dict[str, Any]:
    """Train some steps; return the most bytes held, and tokens a second of steps of `micro_batches`.

    A step takes what its micro batches take and what comes once, so two short ones tell of a long one.
    """
    if request.memory is not None and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, request.memory / total))
    cfg = composed(request.config_name, request.overrides, request.config_dir)
    cfg.model.micro_batch_size = request.rows
    trial, batches = _trial(cfg), _batches(cfg)
    few = min(_FEW, request.micro_batches)
    trial.step([next(batches)[0] for _ in range(few)])
    for _ in range(_MOST_OVERFLOWS):
        if trial.optimizer.last.kind == "stepped":
            break
        trial.step([next(batches)[0]])

    def seconds(count: int) -> tuple[float, int]:
        drawn = [next(batches) for _ in range(count)]
        _wait()
        began = time.perf_counter()
        trial.step([batch for batch, _ in drawn])
        _wait()
        return time.perf_counter() - began, sum(num_tokens for _, num_tokens in drawn)

    of_one = [seconds(1) for _ in range(_REPEATED)]
    of_few = [seconds(few) for _ in range(_REPEATED)] if few > 1 else of_one
    once, some = min(of_one)[0], min(of_few)[0]
    of_step = once + (request.micro_batches - 1) * (some - once) / max(1, few - 1)
    tokens = sum(num_tokens for _, num_tokens in of_one + of_few) / sum(
        len(each) * count for each, count in ((of_one, 1), (of_few, few))
    )
    return {"fits": True, "peak": _peak(), "tokens_per_second": request.micro_batches * tokens / of_step}


def _trial(cfg: DictConfig) -> Any:
    from dnabert_nemo.training.trial import Trial  # megatron-core, which is not asked what the device is

    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    precision, kernels = of_device(cfg, capability)
    optim: Any = OmegaConf.to_container(cfg.model.optim, resolve=True)
    return Trial(
        BertShape.of(cfg.model),
        k=cfg.model.tokenizer.k,
        precision=precision,
        kernels=kernels,
        recompute=Recompute.of(cfg.model),
        optimizer=OptimizerSettings.of(optim, cfg.trainer.gradient_clip_val),
        seed=cfg.model.seed,
    )


def _batches(cfg: DictConfig) -> Iterator[tuple[MicroBatch, int]]:
    """Yield micro batches of samples as long as training draws them, and their tokens without padding."""
    from dnabert_nemo.training.trial import made_up_batch

    step, seed = step_shape(cfg), cfg.model.seed
    plan = SamplingPlan(np.array([10**9]), step.max_tokens, seed, cfg.model.data.length_mix)
    first, rows = 0, step.micro_batch_size
    while True:
        ahead = 64 + rows * step.tokens_per_row // 4
        lengths = (plan.samples(first, ahead)["length"] + NUM_ENDS).tolist()
        packed, consumed = pack_step(lengths, rows, step.tokens_per_row)
        first += consumed
        segments = []
        for row in packed:
            filled = [lengths[sample] for sample in row]
            segments += [*filled, *tail_segments(step.tokens_per_row - sum(filled), step.max_positions)]
        yield made_up_batch(segments, k=cfg.model.tokenizer.k, seed=seed), sum(lengths[:consumed])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident()


if __name__ == "__main__":
    main()
