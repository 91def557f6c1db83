"""What a shard set holds, counted from its records and held against its manifest and checksums."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnabert_nemo.errors import ShardError
from dnabert_nemo.shards.checksums import verify_set
from dnabert_nemo.shards.contents import KINDS, REMEDY
from dnabert_nemo.shards.manifest import MANIFEST, Manifest
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.tar_records import stored_records


@dataclass(frozen=True)
class Inspection:
    """The counts of one set, all of whose files have the checksums of its manifest."""

    folder: Path
    manifest: Manifest
    contig_stretches: dict[tuple[str, str], int]  # by component and contig; the reads of a sample are one
    stretch_lengths: dict[int, int]  # how many stretches have this power of two bases, or up to twice as many
    duplicate_keys: dict[str, tuple[str, ...]]  # the shards of each key that comes more than once


def inspect_set(path: str | Path) -> Inspection:
    """Read a whole set: its checksums, and what its records say of themselves.

    Raises:
        ShardError: it is unfinished or damaged; names the file, and the record where that can be told.
    """
    for _, error in verify_set(path):
        if error is not None:
            raise error
    shards = ShardSet.open(path)
    folder, manifest = shards.path, shards.manifest
    stretches: Counter[tuple[str, str]] = Counter()
    places: dict[str, list[str]] = {}
    for shard in manifest.shards:
        with open(folder / shard.name, "rb") as file:
            for record in stored_records(folder / shard.name):
                places.setdefault(record.key, []).append(shard.name)
                at, size = record.parts["json"]
                file.seek(at)
                stretches.update(map(_origin, json.loads(file.read(size))["stretches"]))
    _check_counts(folder, manifest, stretches, num_records=sum(map(len, places.values())))
    powers, counts = np.unique(
        np.log2(shards.stretch_tokens + manifest.k - 1).astype(np.int64), return_counts=True
    )
    return Inspection(
        folder,
        manifest,
        dict(stretches),
        dict(zip((1 << powers).tolist(), counts.tolist(), strict=True)),
        {key: tuple(names) for key, names in places.items() if len(names) > 1},
    )


def _origin(row: dict[str, Any]) -> tuple[str, str]:
    component = next(row[kind] for kind in KINDS if kind in row)
    return component, row.get("contig", component)


def _check_counts(
    folder: Path, manifest: Manifest, stretches: Counter[tuple[str, str]], num_records: int
) -> None:
    """Hold a manifest against itself and the records."""
    shards, components, contigs = manifest.shards, manifest.components, manifest.contigs
    counted = {
        "num_records": (num_records, sum(shard.num_records for shard in shards)),
        "num_stretches": (
            stretches.total(),
            sum(shard.num_stretches for shard in shards),
            sum(component.num_stretches for component in components),
        ),
        "num_tokens": (
            sum(shard.num_tokens for shard in shards),
            sum(component.num_tokens for component in components),
        ),
        "num_bases": (
            sum(component.num_bases for component in components),
            sum(contig.num_bases for contig in contigs),
        ),
    }
    for name, counts in counted.items():
        other = [count for count in counts if count != getattr(manifest, name)]
        if other:
            problem = f"{name} is {getattr(manifest, name)}, but adds up to {other[0]}"
            raise ShardError(f"{folder / MANIFEST}: {problem}: {REMEDY}")
    by_component: Counter[str] = Counter()
    for (component, _), count in stretches.items():
        by_component[component] += count
    described = {component.name: component.num_stretches for component in components}
    unlike = sorted(name for name in by_component | described if by_component[name] != described.get(name))
    if unlike:
        problem = f"{by_component[unlike[0]]} stretches of {unlike[0]!r}, it says {described.get(unlike[0])}"
        raise ShardError(f"{folder / MANIFEST}: {problem}: {REMEDY}")
    unknown = sorted(stretches.keys() - {(contig.component, contig.name) for contig in contigs})
    if unknown:
        raise ShardError(f"{folder / MANIFEST}: contig {':'.join(unknown[0])!r} is not in it: {REMEDY}")
