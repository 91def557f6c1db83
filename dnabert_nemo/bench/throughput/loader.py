"""The loader alone, and how long training waits for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.throughput.figures import missing
from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.ours import OPTIMIZER, all_of
from dnabert_nemo.bench.throughput.samples import DrawnSteps, Setting
from dnabert_nemo.bench.throughput.sections import OURS, Group, Section, targets
from dnabert_nemo.bench.throughput.settings import Settings, Turns
from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.loader import StepLoader
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.training.trial import Trial

_ROUNDS = 3
_PREFETCH = 2  # steps that each worker has ready, as in a run


@dataclass(frozen=True)
class LoadedTraining:
    """Training on what the loader brings, as in a run."""

    data: DrawnSteps
    setting: Setting
    kernels: Kernels
    workers: int

    def load(self) -> None:
        """There is nothing to make ahead."""

    def start(self, _: None) -> LoadedSteps:
        """Make the model, and start the loader."""
        return LoadedSteps(self)


class LoadedSteps:
    """Training steps of ours; `waited` are the seconds that they had no data."""

    def __init__(self, work: LoadedTraining) -> None:
        self.num_micro_batches = work.data.rows // work.data.micro_batch_size
        self.mean_attended = 0.0
        self.read_share = self.head_share = 1.0
        self.waited = 0.0
        self._trial = Trial(
            work.setting.shape,
            k=work.data.k,
            precision=work.setting.precision,
            kernels=work.kernels,
            optimizer=OPTIMIZER,
            seed=work.setting.seed,
        )
        loader: Any = StepLoader(work.data.stream(), work.workers, _PREFETCH)
        self._batches: Iterator[StepBatch] = iter(loader)

    def step(self, number: int) -> tuple[float, Tensor]:
        """Take the next step."""
        began = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - began
        sums = self._trial.step(batch.micro_batches)
        return batch.num_tokens, sums[0] / sums[1]


def loader(settings: Settings, shards: Path, examples: Path, folder: Path) -> Section:
    """Measure the loader by itself, and what training waits for it."""
    from dnabert_nemo.bench.loader_rows import loader_rows  # here, as it brings Lightning

    asked, batch, k = settings.loader, settings.batch, settings.ks[0]
    setting = Setting(settings.shape(k), settings.precision, settings.seed)
    data = DrawnSteps(
        shards, k, settings.seed, batch.rows, batch.micro_batch_size, batch.tokens_per_row, asked.wait_steps
    )
    kernels = all_of(settings.kernels.kernels).kernels
    work = LoadedTraining(data, setting, kernels, asked.wait_workers)
    title = f"training from the loader, workers: {asked.wait_workers}"
    turns = Turns(_ROUNDS, asked.wait_steps, warmup=2)
    [row] = measure(
        title, [Entry(OURS, work, settings.threads, None)], turns, folder, is_gpu=settings.here.is_gpu
    )
    shares = [100 * turn.waited / turn.seconds for turn in row.turns]
    judged = [
        Row(
            "training waits for data",
            statistics.median(shares) if shares else None,
            "% of a step",
            target=targets(settings).wait,
            lower_is_better=True,
            note=missing(row) or f"workers: {asked.wait_workers}; at most {max(shares):.2g} %",
        )
    ]
    judged += loader_rows(
        genome_bases=asked.genome_bases,
        k=k,
        rows=asked.rows,
        micro_batch_size=asked.micro_batch_size,
        tokens_per_row=asked.tokens_per_row,
        steps=asked.steps,
        workers=asked.workers,
        repeats=asked.repeats,
        seed=settings.seed,
        examples=examples,
        folder=folder,
    )
    return Section("loader", [Group(title, [row])], judged)
