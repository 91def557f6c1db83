"""Looks into a few steps: torch's profiler writes them to files, or Nsight Systems is told where they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.profiler import ProfilerActivity, profile, record_function

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.ranges import mark
from dnabert_nemo.model.step_rates import DataWait
from dnabert_nemo.training.check import NSYS

WARM_UP, STEPS = 5, 3  # steps that go before those looked into, and how many these are
_ROWS = 40  # of the table
_NAMES = {"run_training_batch": "step", "train_dataloader_next": "data wait"}  # what Lightning calls them
log = logging.getLogger("dnabert_nemo")


class Ranges(DataWait):
    """Lightning's profiler of a profiled run: what `DataWait` does, and named ranges while `is_on`.

    They nest as they are begun and ended. torch's profiler has them beside its own events; for Nsight Systems
    they are NVTX ranges.
    """

    def __init__(self, *, nvtx: bool) -> None:
        super().__init__()
        self._nvtx = nvtx
        self._open: list[record_function] = []
        self.is_on = False

    def begin(self, name: str) -> None:
        if self._nvtx:
            torch.cuda.nvtx.range_push(name)
        else:
            self._open.append(record_function(name).__enter__())

    def end(self) -> None:
        if self._nvtx:
            torch.cuda.nvtx.range_pop()
        else:
            self._open.pop().__exit__(None, None, None)

    def start(self, action_name: str) -> None:
        super().start(action_name)
        name = _NAMES.get(action_name.split(".")[-1])
        if self.is_on and name is not None:
            self.begin(name)

    def stop(self, action_name: str) -> None:
        if self.is_on and action_name.split(".")[-1] in _NAMES:
            self.end()
        super().stop(action_name)


class ProfiledSteps(Callback):
    """Profiles `STEPS` steps, after `WARM_UP` of this start and, under fp16, the search for a loss scale.

    With torch's profiler each rank writes `profile_rank<n>.json.gz`, a trace for chrome://tracing or
    ui.perfetto.dev, and `profile_rank<n>.txt`, a table of what took most; with Nsight Systems,
    cudaProfilerStart and cudaProfilerStop stand around the steps. A validation among them ends it before.
    """

    def __init__(self, folder: Path, ranges: Ranges, *, nsys: bool) -> None:
        self._folder, self._ranges, self._nsys = folder, ranges, nsys
        self._num_steps = 0  # of this start that have ended
        self._first = 0  # of the steps looked into
        self._profiler: profile | None = None
        self._undo: list[Callable[[], None]] = []
        self._is_done = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._is_done or self._ranges.is_on or self._num_steps < WARM_UP:
            return
        if pl_module.optimizer.last.kind == "stepped":
            self._first = trainer.global_step + 1
            self._begin(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._num_steps += 1
        if self._ranges.is_on and trainer.global_step == self._first + STEPS - 1:
            self._end(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self._ranges.is_on:
            self._end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End what is under way, or say that it has not come to it."""
        if self._ranges.is_on:
            self._end(trainer, pl_module)
        elif not self._is_done:
            log.info("profile: none, as it would begin after %d steps of a start", WARM_UP)

    def _begin(self, pl_module: Any) -> None:
        if self._nsys:
            torch.cuda.synchronize()
            torch.cuda.profiler.start()
        else:
            on_gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._profiler = profile(activities=[ProfilerActivity.CPU, *on_gpu])
            self._profiler.start()
        ranges, optimizer = self._ranges, pl_module.optimizer
        ranges.is_on = True
        before = optimizer.register_step_pre_hook(lambda *_: ranges.begin("optimizer"))
        after = optimizer.register_step_post_hook(lambda *_: ranges.end())
        marks = mark(pl_module.bert, ranges.begin, ranges.end, inside_layers=self._nsys)
        self._undo = [before.remove, after.remove, marks]

    def _end(self, trainer: Trainer, pl_module: Any) -> None:
        self._is_done, self._ranges.is_on = True, False
        for each in self._undo:
            each()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        steps = f"steps {self._first} to {trainer.global_step}"
        if self._profiler is None:
            torch.cuda.profiler.stop()
            log.info("profile: %s, for Nsight Systems", steps)
            return
        pl_module.rates.pause()  # what writing takes is not training's
        self._profiler.stop()
        trace, table = self._write(self._profiler, trainer.global_rank, steps)
        self._profiler = None
        pl_module.rates.resume()
        of_all = f", and so for each of {trainer.world_size} ranks" if trainer.world_size > 1 else ""
        log.info("profile: %s in %s and, as a trace, %s%s", steps, table, trace.name, of_all)

    def _write(self, profiler: profile, rank: int, steps: str) -> tuple[Path, Path]:
        """Write the trace, which appears when it is whole, and the table."""
        trace, table = (self._folder / f"profile_rank{rank}.{ending}" for ending in ("json.gz", "txt"))
        unfinished = trace.with_name(f".unfinished_{trace.name}")
        profiler.export_chrome_trace(str(unfinished))
        os.replace(unfinished, trace)
        of_device = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        rows = profiler.key_averages().table(sort_by=of_device, row_limit=_ROWS, max_name_column_width=60)
        table.write_text(f"rank {rank}, {steps}\n{rows}\n")
        return trace, table


def profiling(asked: bool | str, folder: Path) -> tuple[DataWait, list[Callback]]:
    """Make Lightning's profiler of a run, and the callback that profiles some of its steps where asked for.

    Args:
        asked: trainer.profile.

    Raises:
        ConfigError: Nsight Systems is to look at a run on a CPU.
    """
    if asked is False:
        return DataWait(), []
    nsys = asked == NSYS
    if nsys and not torch.cuda.is_available():
        raise ConfigError(f"trainer.profile={NSYS} looks at what a GPU does, and there is none: use true")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it prints when it starts and stops
    ranges = Ranges(nvtx=nsys)
    return ranges, [ProfiledSteps(folder, ranges, nsys=nsys)]
