"""Scaling of training: the length of samples, the width of the model, the rows of a micro batch.

Ours and the SDPA peer take turns at each point, in processes that end with it; the last sweep is ours alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dnabert_nemo.bench.padded import POSITIONS
from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.throughput.figures import Measured, compared, missing
from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.ours import OurTraining, all_of
from dnabert_nemo.bench.throughput.peers import SDPA, PeerTraining
from dnabert_nemo.bench.throughput.plots import Lines, Panel
from dnabert_nemo.bench.throughput.samples import DrawnSteps, EqualSteps, Setting
from dnabert_nemo.bench.throughput.sections import OURS, Group, Section
from dnabert_nemo.bench.throughput.settings import HEAD, Settings

LINEAR = 1.1  # times the memory: what constant tokens may take more in longer samples, and count as linear
_SHORT = 512


def scaling(settings: Settings, shards: Path, folder: Path) -> Section:
    """Measure all three sweeps."""
    section = Section("scaling")
    _add_lengths(settings, section, folder)
    _add_hidden(settings, section, folder)
    _add_micro_batches(settings, section, shards, folder)
    return section


def _add_lengths(settings: Settings, section: Section, folder: Path) -> None:
    """Sweep the length of the samples at a constant number of tokens, none of them padding."""
    swept, points = settings.scaling, []
    for length in swept.lengths:
        # as many positions in all models, so that their embeddings do not grow with the length
        data = EqualSteps(settings.ks[0], settings.seed, length, swept.tokens, 1)
        why = f"peer_longest={swept.peer_longest}" if length > swept.peer_longest else ""
        points.append(
            _point(
                settings,
                f"samples of {length:,} tokens, {swept.tokens:,} in a step",
                {
                    "num_layers": swept.layers,
                    "max_position_embeddings": max(*swept.lengths, POSITIONS),
                },
                data,
                folder,
                without_peer=why,
            )
        )
    section.groups.append(_labelled("length", swept.lengths, points))
    section.plots.append(
        _lines(
            "length.png",
            f"Length of samples, {swept.tokens:,} tokens in a step, layers: {swept.layers}",
            "tokens of a sample",
            swept.lengths,
            points,
        )
    )
    for length, (own, peer) in zip(swept.lengths, points, strict=True):
        section.judged.append(compared(f"training, samples of {length:,} tokens", own, peer))
    section.judged.extend(_linear(swept.lengths, [own for own, _ in points]))


def _linear(lengths: Sequence[int], points: Sequence[Measured]) -> list[Row]:
    """Judge whether memory is linear in the tokens: at constant tokens it must not grow with the length."""
    if _SHORT not in lengths or lengths[-1] <= _SHORT:
        return []
    short, long = points[lengths.index(_SHORT)], points[-1]
    own, of_short = (each.peak and each.peak / 1e6 for each in (long, short))
    return [
        Row(
            f"peak memory at constant tokens, samples of {lengths[-1]:,}",
            own,
            "MB",
            f"samples of {_SHORT}",
            of_short,
            target_ratio=LINEAR,
            lower_is_better=True,
            note=missing(long, short) or "attention linear in memory",
        )
    ]


def _add_hidden(settings: Settings, section: Section, folder: Path) -> None:
    """Sweep the width of the model."""
    swept, points = settings.scaling, []
    data = EqualSteps(settings.ks[0], settings.seed, POSITIONS, swept.hidden_tokens, 1)
    for size in swept.hidden:
        shape = {
            "num_layers": swept.layers,
            "hidden_size": size,
            "ffn_hidden_size": 4 * size,
            "num_attention_heads": size // HEAD,
        }
        points.append(_point(settings, f"hidden size {size:,}", shape, data, folder))
    section.groups.append(_labelled("hidden", swept.hidden, points))
    title = f"Hidden size, layers: {swept.layers}"
    section.plots.append(_lines("hidden.png", title, "hidden size", swept.hidden, points))
    for size, (own, peer) in zip(swept.hidden, points, strict=True):
        section.judged.append(compared(f"training, hidden size {size:,}", own, peer))


def _add_micro_batches(settings: Settings, section: Section, shards: Path, folder: Path) -> None:
    """Sweep the rows that are computed at once; a step is one micro batch."""
    swept, batch, points = settings.scaling, settings.batch, []
    k = settings.ks[0]
    for rows in swept.micro_batches:
        data = DrawnSteps(shards, k, settings.seed, rows, rows, batch.tokens_per_row, 2)
        what = f"micro batch of {rows} x {batch.tokens_per_row:,} tokens"
        points.append(
            measure(what, [_ours(settings, {}, data)], swept.turns, folder, is_gpu=settings.here.is_gpu)
        )
    section.groups.append(_labelled("micro batch", swept.micro_batches, points))
    title = f"Rows of {batch.tokens_per_row:,} tokens in a micro batch"
    section.plots.append(_lines("micro_batch.png", title, "rows", swept.micro_batches, points))


def _point(
    settings: Settings,
    title: str,
    changes: dict[str, Any],
    data: EqualSteps,
    folder: Path,
    without_peer: str = "",
) -> list[Measured]:
    """Measure ours and the SDPA peer, whose micro batch holds all samples of the step."""
    entries = [_ours(settings, changes, data)]
    if not without_peer:
        setting = Setting(settings.shape(data.k, **changes), settings.precision, settings.seed)
        work = PeerTraining(SDPA, data, setting, data.tokens // data.length, data.length)
        entries.append(Entry(SDPA, work, settings.threads, setting.shape))
    measured = measure(title, entries, settings.scaling.turns, folder, is_gpu=settings.here.is_gpu)
    return [*measured, Measured(SDPA, reason=without_peer)] if without_peer else measured


def _ours(settings: Settings, changes: dict[str, Any], data: DrawnSteps | EqualSteps) -> Entry:
    setting = Setting(settings.shape(data.k, **changes), settings.precision, settings.seed)
    work = OurTraining(data, setting, all_of(settings.kernels.kernels))
    return Entry(OURS, work, settings.threads, setting.shape)


def _labelled(what: str, values: Sequence[int], points: Sequence[Sequence[Measured]]) -> Group:
    rows = [
        replace(row, name=f"{what} {value:,}: {row.name}")
        for value, point in zip(values, points, strict=True)
        for row in point
    ]
    return Group(what, rows)


def _lines(
    file: str, title: str, x_label: str, x: Sequence[int], points: Sequence[Sequence[Measured]]
) -> Lines:
    def of(figure: str, scale: float) -> dict[str, list[float | None]]:
        return {
            rows[0].name: [_scaled(getattr(row, figure), scale) for row in rows]
            for rows in zip(*points, strict=True)
        }

    panels = [Panel("tokens/s", of("speed", 1)), Panel("peak memory, kB a token", of("bytes_a_token", 1e-3))]
    return Lines(file, title, x_label, x, panels)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
