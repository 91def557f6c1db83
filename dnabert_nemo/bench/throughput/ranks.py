"""Scaling over ranks: the same step shared by data, by tensor and by pipeline, beside one rank."""

from __future__ import annotations

from pathlib import Path

from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.throughput.figures import Measured, missing
from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.ours import OurTraining, all_of
from dnabert_nemo.bench.throughput.plots import IDEAL, Lines, Panel
from dnabert_nemo.bench.throughput.samples import DrawnSteps, Setting
from dnabert_nemo.bench.throughput.sections import Group, Section
from dnabert_nemo.bench.throughput.settings import Settings
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.sizes import ParallelSizes

ONE = "1 rank"
MODES = ("DP", "TP", "PP")
_STEPS = 2  # that differ


def ranks(settings: Settings, shards: Path, folder: Path) -> Section:
    """Measure each way to share a step, all in turns; one thread a rank on a CPU, a GPU each otherwise."""
    swept, k = settings.ranks, settings.ks[0]
    setting = Setting(settings.shape(k), settings.precision, settings.seed)
    data = DrawnSteps(shards, k, settings.seed, swept.rows, 1, swept.tokens_per_row, _STEPS)
    way, entries, refused = all_of(settings.kernels.kernels), [], {}
    for mode, size in [("", 1), *((mode, size) for size in swept.sizes for mode in MODES)]:
        name = f"{mode}{size}" if mode else ONE
        sizes = {"TP": ParallelSizes(tensor=size), "PP": ParallelSizes(pipeline=size)}.get(
            mode, ParallelSizes()
        )
        why = _refused(settings, sizes, size, setting)
        if why:
            refused[name] = why
            continue
        threads = settings.threads if settings.here.is_gpu else 1
        entries.append(Entry(name, OurTraining(data, setting, way, sizes), threads, setting.shape, size))
    title = f"{swept.rows} rows of {swept.tokens_per_row:,} tokens, one in a micro batch"
    measured = measure(title, entries, swept.turns, folder, is_gpu=settings.here.is_gpu)
    by_name = {row.name: row for row in measured} | {
        name: Measured(name, shape=setting.shape, reason=why) for name, why in refused.items()
    }
    names = [ONE, *(f"{mode}{size}" for size in swept.sizes for mode in MODES)]
    return Section(
        "ranks",
        [Group(title, [by_name[name] for name in names])],
        [
            _efficiency(by_name[name], by_name[ONE], size)
            for size in swept.sizes
            for name in (f"{m}{size}" for m in MODES)
        ],
        [_plot(settings, by_name, title)],
        notes=_notes(settings),
    )


def _notes(settings: Settings) -> str:
    what = (
        "a GPU each"
        if settings.here.is_gpu
        else "one thread each, one rank too, on the cores of one processor"
    )
    return (
        f"The ranks have {what}. Efficiency is tokens a second over those of one rank and the number of "
        "ranks. A pipeline of p ranks and m micro batches idles for (p - 1) / (m + p - 1) of its time."
    )


def _refused(settings: Settings, sizes: ParallelSizes, num_ranks: int, setting: Setting) -> str:
    """Say why so many ranks cannot share this model here; "" where they can."""
    here, shape = settings.here, setting.shape
    if here.is_gpu and num_ranks > here.num_gpus:
        return f"{here.num_gpus} GPU here"
    if not here.is_gpu and num_ranks > settings.threads:
        return f"{settings.threads} cores here"
    try:
        sizes.check(
            num_ranks=num_ranks,
            num_layers=shape.num_layers,
            num_attention_heads=shape.num_attention_heads,
            ffn_hidden_size=shape.ffn_hidden_size,
            padded_vocab_size=shape.padded_vocab_size,
            tokens_per_micro_batch=settings.ranks.tokens_per_row,
            rows_per_step=settings.ranks.rows,
            micro_batch_size=1,
        )
    except ConfigError as error:
        return str(error)
    return ""


def _efficiency(row: Measured, one: Measured, num_ranks: int) -> Row:
    value = None
    if row.speed is not None and one.speed is not None:
        value = 100 * row.speed / (num_ranks * one.speed)
    return Row(
        f"efficiency of {row.name}",
        value,
        "%",
        note=missing(row, one) or f"{num_ranks} ranks beside one, same step",
    )


def _plot(settings: Settings, by_name: dict[str, Measured], title: str) -> Lines:
    sizes = [1, *settings.ranks.sizes]
    lines: dict[str, list[float | None]] = {
        mode: [by_name[ONE if size == 1 else f"{mode}{size}"].speed for size in sizes] for mode in MODES
    }
    one = by_name[ONE].speed
    lines[IDEAL] = [None if one is None else one * size for size in sizes]
    return Lines("ranks.png", title, "ranks", sizes, [Panel("tokens/s", lines)])
