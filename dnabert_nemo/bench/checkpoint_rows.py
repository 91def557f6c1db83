"""How long saving a checkpoint keeps training from going on; `benchmark_checkpoint` runs it."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dnabert_nemo.bench.table import Row
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import checkpoint
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.training.trial import Trial, made_up_batch

LARGEST_SHARE = 0.25  # of what the synchronous save takes


def checkpoint_rows(
    *, shape: dict[str, Any], k: int, tokens: int, optimizer: str, repeats: int, seed: int, folder: Path
) -> Iterator[Row]:
    """Measure saves of one model into `folder`; each figure is the median of the repeats."""
    vocabulary = Vocabulary(k)
    run = Trial(
        BertShape(len(vocabulary), vocabulary.padded_size(), **shape),
        k=k,
        optimizer=OptimizerSettings(name=optimizer),
        seed=seed,
    )
    batch = made_up_batch((tokens,), k=k, seed=seed)

    def step() -> None:
        run.step([batch])

    step()
    path = folder / "step=1.ckpt"
    alone = _median(repeats + 2, step)

    synchronous = _median(repeats, lambda: checkpoint.save(path, run.module, run.optimizer, {}))
    megatrons = _median(repeats, lambda: _save_as_megatron(folder / "megatron", run))
    blocked, until_in_place, beside = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        saving = checkpoint.begin(path, run.module, run.optimizer, {}, copy=True)
        blocked.append(time.perf_counter() - began)
        while not saving.is_done:
            beside.append(_seconds(step))
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


def _save_as_megatron(path: Path, run: Trial) -> None:
    path.mkdir()
    checkpoint.save_as_megatron_does(path, run.module, run.optimizer)
    shutil.rmtree(path)


def _median(repeats: int, work: Callable[[], object]) -> float:
    return statistics.median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
