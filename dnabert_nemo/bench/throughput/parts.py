"""The parts of the throughput benchmark one after the other; `report` writes what they return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dnabert_nemo.bench.throughput.inference import inference
from dnabert_nemo.bench.throughput.loader import loader
from dnabert_nemo.bench.throughput.ranks import ranks
from dnabert_nemo.bench.throughput.samples import made_up_shards
from dnabert_nemo.bench.throughput.sections import Section, training
from dnabert_nemo.bench.throughput.settings import Settings
from dnabert_nemo.bench.throughput.sweeps import scaling


def measured_parts(
    settings: Settings, parts: Sequence[str], examples: Path, folder: Path
) -> Iterator[Section]:
    """Measure each part.

    Args:
        examples: where the commands are.
        folder: for what is made up.
    """
    ks = settings.ks if "peers" in parts else settings.ks[:1]
    shards = {
        k: made_up_shards(folder / f"k{k}", k=k, bases=settings.genome_bases, seed=settings.seed) for k in ks
    }
    if {"ablation", "peers"} & set(parts):
        yield training(settings, parts, shards, folder)
    own = shards[settings.ks[0]]
    if "scaling" in parts:
        yield scaling(settings, own, folder)
    if "ranks" in parts:
        yield ranks(settings, own, folder)
    if "inference" in parts:
        yield inference(settings, own, folder)
    if "loader" in parts:
        yield loader(settings, own, examples, folder)
