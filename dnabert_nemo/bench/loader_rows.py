"""Rows of the loader: masked, packed tokens a second by mask and workers, beside DNABERT's padded batches."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from dnabert_nemo.bench.padded import AROUND, POSITIONS, padded_batch, tokenized_samples
from dnabert_nemo.bench.prepare_rows import prepare
from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.timing import best_of
from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.masking import MASK_NAMES, MaskRule

_TARGET = 3.0  # M tokens/s a core
_BATCH = 32  # samples of the peer: its micro-batch
_PEER_IDS = 4_000_000


def worker_counts() -> list[int]:
    """Return no worker, then 1, 2, 4, ... up to the cores of this machine."""
    cores = os.cpu_count() or 1
    return [0, *(2**power for power in range(cores.bit_length()))]


def loader_rows(
    *,
    genome_bases: int,
    k: int,
    rows: int,
    micro_batch_size: int,
    tokens_per_row: int,
    steps: int,
    workers: Sequence[int] | None,
    repeats: int,
    seed: int,
    examples: Path,
    folder: Path,
) -> Iterator[Row]:
    """Load `steps` steps of `rows` rows from shards of a made-up genome, with each mask and worker count.

    Raises:
        ConfigError: DNABERT has no mask for this k.
    """
    if k not in AROUND:
        raise ConfigError(
            f"loader.k={k}: DNABERT, the peer, masks k = {', '.join(map(str, AROUND))}: choose one"
        )
    torch.set_num_threads(1)  # a core
    shards = prepare(examples, folder / "loader", genome_bases, k, seed).shards
    shape = StepShape(rows, micro_batch_size, tokens_per_row)
    peer_speed, peer_clock, peer_padding = _peer(k, steps * rows * tokens_per_row, repeats, seed)
    padding = 0.0
    for name in MASK_NAMES:
        module = _module(shards, shape, MaskRule(k, name), 0, seed)
        loaded = iter(module.train_dataloader())
        next(loaded)
        counts: list[int] = []

        def load(loaded: Iterator[StepBatch] = loaded, counts: list[int] = counts) -> None:
            counts.append(sum(step.num_tokens for step in itertools.islice(loaded, steps)))

        timing = best_of(repeats, load)
        tokens = float(np.mean(counts))
        padding = 1 - tokens / (steps * rows * tokens_per_row)
        yield Row(
            f"loader, mask {name}, k = {k}, in process",
            tokens / timing.cpu / 1e6,
            "M tokens/s a core",
            "DNABERT's way, ids in memory: a loop over each sample's centres, padded",
            peer_speed,
            target=_TARGET,
            note=f"{tokens / timing.wall / 1e6:.3g} by the clock, the peer {peer_clock:.3g}",
        )
    yield Row(
        f"padding of packed rows of {tokens_per_row:,}",
        100 * padding,
        "% of positions",
        f"padded to {POSITIONS}",
        100 * peer_padding,
        lower_is_better=True,
    )
    for num_workers in worker_counts() if workers is None else workers:
        for name in MASK_NAMES:
            yield _worker_row(shards, shape, MaskRule(k, name), num_workers, steps, repeats, seed, peer_clock)


def _peer(k: int, tokens: int, repeats: int, seed: int) -> tuple[float, float, float]:
    """Return the peer's M tokens/s a core and by the clock, and the share of positions that is padding."""
    codes = np.random.default_rng(seed).integers(4, size=_PEER_IDS, dtype=np.uint8)
    samples = tokenized_samples(kmer_ids(codes, k), max(_BATCH, tokens // 310), seed)
    samples = samples[: len(samples) // _BATCH * _BATCH]
    chance = MaskRule(k).chance

    def load() -> None:
        for first in range(0, len(samples), _BATCH):
            padded_batch(samples[first : first + _BATCH], k, chance)

    timing = best_of(repeats, load)
    real = sum(map(len, samples))
    return real / timing.cpu / 1e6, real / timing.wall / 1e6, 1 - real / (POSITIONS * len(samples))


def _module(
    shards: Path, shape: StepShape, rule: MaskRule, num_workers: int, seed: int
) -> PretrainingDataModule:
    paths = DataPaths((str(shards / "train"),), str(shards / "validation"))
    module = PretrainingDataModule(paths, shape, Masking(rule), seed=seed, num_workers=num_workers)
    module.setup()
    module.set_data_parallel(0, 1)
    return module


def _worker_row(
    shards: Path,
    shape: StepShape,
    rule: MaskRule,
    num_workers: int,
    steps: int,
    repeats: int,
    seed: int,
    peer_clock: float,
) -> Row:
    loaded = iter(_module(shards, shape, rule, num_workers, seed).train_dataloader())
    for _ in range(2 * num_workers + 1):  # what was made ahead is none of the time
        next(loaded)
    speeds = []
    for _ in range(repeats):
        began = time.perf_counter()
        tokens = sum(step.num_tokens for step in itertools.islice(loaded, steps))
        speeds.append(tokens / (time.perf_counter() - began) / 1e6)
    del loaded
    return Row(
        f"loader, mask {rule.name}, workers: {num_workers}",
        max(speeds),
        "M tokens/s",
        "DNABERT's way, one process",
        peer_clock,
        note="by the clock",
    )
