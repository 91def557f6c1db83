"""How long saving a checkpoint keeps training from going on; `benchmark_checkpoint` runs it."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dnabert_nemo.bench.table import Row
from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import checkpoint, engine, topology, weights
from dnabert_nemo.megatron.bert import BertForMaskedLM, build
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.shape import BertShape, transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

LARGEST_SHARE = 0.25  # of what the synchronous save takes


class Run:
    """A model in training on one rank, on made-up tokens."""

    def __init__(self, shape: dict[str, Any], *, k: int, tokens: int, optimizer: str, seed: int) -> None:
        topology.start(ParallelSizes(), seed)
        vocabulary = Vocabulary(k)
        whole = BertShape(len(vocabulary), vocabulary.padded_size(), **shape)
        self.module = build(
            lambda run: BertForMaskedLM(transformer_config(whole, ParallelSizes(), "fp32"), whole, run)
        )
        weights.initialize(self.module, whole, seed)
        self.module.to(topology.device())
        self.ddp = engine.data_parallel(
            self.module, distributed_optimizer=optimizer.startswith("distributed")
        )
        self.optimizer = MegatronAdamW(self.ddp, OptimizerSettings(name=optimizer))
        self._loss = MaskedLMLoss(k)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, len(vocabulary), (tokens,), generator=generator)
        none = torch.empty(0, dtype=torch.int64)
        self._batch = MicroBatch(
            ids,
            torch.arange(tokens),
            (tokens,),
            torch.arange(0, tokens, 7),
            ids[::7],
            none,
            none,
            none,
            tokens,
            1,
        )

    def step(self) -> None:
        """Take a training step."""
        self.optimizer.zero_grad()
        engine.run_step(
            self.ddp,
            [self._batch],
            self._loss,
            hidden_tokens=self._batch.ids.numel(),
            num_sums=len(MASKED_LM_SUMS),
            training=True,
        )
        self.optimizer.step()


def checkpoint_rows(
    *, shape: dict[str, Any], k: int, tokens: int, optimizer: str, repeats: int, seed: int, folder: Path
) -> Iterator[Row]:
    """Measure saves of one model into `folder`; each figure is the median of the repeats."""
    run = Run(shape, k=k, tokens=tokens, optimizer=optimizer, seed=seed)
    run.step()
    path = folder / "step=1.ckpt"
    alone = _median(repeats + 2, run.step)

    synchronous = _median(repeats, lambda: checkpoint.save(path, run.module, run.optimizer, {}))
    megatrons = _median(repeats, lambda: _save_as_megatron(folder / "megatron", run))
    blocked, until_in_place, beside = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        saving = checkpoint.begin(path, run.module, run.optimizer, {}, copy=True)
        blocked.append(time.perf_counter() - began)
        while not saving.is_done:
            beside.append(_seconds(run.step))
        saving.wait()
        until_in_place.append(time.perf_counter() - began)
    size = sum(file.stat().st_size for file in path.iterdir())
    parameters = sum(p.numel() for p in run.module.parameters())
    what = f"{parameters:,} parameters with fp32 Adam state, {size / 1e9:.2f} GB"

    yield Row(
        "a save in the background blocks training",
        statistics.median(blocked),
        "s",
        "the same save, waited for",
        synchronous,
        target_ratio=LARGEST_SHARE,
        lower_is_better=True,
        note=what,
    )
    yield Row(
        "a save, waited for, with checksums",
        synchronous,
        "s",
        "megatron-core's own, two forked writers, no checksums",
        megatrons,
        lower_is_better=True,
        note=f"{size / synchronous / 1e9:.2f} GB/s",
    )
    yield Row(
        "a training step while one is written",
        statistics.median(beside),
        "s",
        "a training step alone",
        alone,
        lower_is_better=True,
        note=f"{tokens} tokens; in place after {statistics.median(until_in_place):.1f} s",
    )
    yield Row(
        "comparing all bytes with their checksums, before a resume",
        _median(repeats, lambda: checkpoint.check_complete(path)),
        "s",
        note=what,
    )


def _save_as_megatron(path: Path, run: Run) -> None:
    path.mkdir()
    checkpoint.save_as_megatron_does(path, run.module, run.optimizer)
    shutil.rmtree(path)


def _median(repeats: int, work: Callable[[], object]) -> float:
    return statistics.median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
