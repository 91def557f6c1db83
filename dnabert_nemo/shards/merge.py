"""Several finished shard sets into a new one, in a random order again; the inputs stay as they are."""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.genome.alphabet import BASES
from dnabert_nemo.shards.checksums import index_rows, verify_shard
from dnabert_nemo.shards.contents import KINDS, REMEDY, parse_record
from dnabert_nemo.shards.manifest import MANIFEST, Component, ContigEntry, Manifest, ShardFile
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.records import INDEX, file_sha256, random_order
from dnabert_nemo.shards.splits import SPLITS
from dnabert_nemo.shards.tar_records import StoredRecord, read_parts, stored_records

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One of the sets to merge."""

    folder: Path
    manifest: Manifest
    prefix: str  # of the names of its components
    share: float  # of the training samples, beside those of the other parts

    def renamed(self, component: str) -> str:
        """Return the name that one of its components gets."""
        return f"{self.prefix}.{component}" if self.prefix else component


def merge_sets(
    inputs: Sequence[str | Path],
    output: Output,
    *,
    prefixes: Sequence[str] | None = None,
    shares: Sequence[float] | None = None,
    seed: int | None = None,
) -> dict[str, Manifest]:
    """Write a new set for every split that the inputs have; return their manifests.

    The same inputs, in the same order, give the same bytes. Records are permuted over the whole new set and
    their keys numbered anew; the largest of the inputs' shards says how many are in one. Components keep
    the proportions they have within their input; an input's share of the samples is that of its tokens,
    unless `shares` says otherwise.

    Args:
        inputs: what prepare_shards wrote, either its whole output or the folder of one split.
        prefixes: one for each input, set before the names of its components with a dot; "" changes nothing.
        shares: one for each input, in any unit.
        seed: of the order of records; that of the first input by default.

    Raises:
        ConfigError: the inputs do not go together, share a component's name, or the output exists.
        ShardError: an input is unfinished or damaged, or the output cannot be written.
    """
    for name, given in (("prefixes", prefixes), ("shares", shares)):
        if given is not None and len(given) != len(inputs):
            raise ConfigError(f"--{name} has {len(given)} values for {len(inputs)} inputs: give one for each")
    if shares is not None and not all(0 < share < float("inf") for share in shares):
        raise ConfigError(f"--shares={','.join(map(str, shares))}: give numbers above 0")
    output.check()
    splits: dict[str, list[Part]] = {}
    for place, path in enumerate(inputs):
        prefix = prefixes[place] if prefixes else ""
        for opened in _opened(path):
            share = shares[place] if shares else opened.manifest.num_tokens
            part = Part(opened.path, opened.manifest, prefix, share)
            splits.setdefault(opened.manifest.split, []).append(part)
    for parts in splits.values():
        _check(parts)
    with output.published() as (folder, _):
        manifests = {}
        for split in filter(splits.__contains__, SPLITS):
            (folder / split).mkdir()
            parts = splits[split]
            manifests[split] = _merge(parts, folder / split, parts[0].manifest.seed if seed is None else seed)
            log.info(
                f"{split}: {len(parts)} sets, {manifests[split].num_tokens:,} tokens in "
                f"{manifests[split].num_records:,} records, {len(manifests[split].shards)} shards"
            )
    return manifests


def _opened(path: str | Path) -> list[ShardSet]:
    folders = [Path(path), *(Path(path) / split for split in SPLITS)]
    found = [folder for folder in folders if (folder / MANIFEST).is_file()]
    return [ShardSet.open(folder) for folder in found] or [ShardSet.open(path)]  # which says what is wrong


def _check(parts: Sequence[Part]) -> None:
    first = parts[0]
    owner: dict[str, Path] = {}
    for part in parts:
        if part.manifest.k != first.manifest.k:
            raise ConfigError(
                f"{part.folder} has k={part.manifest.k}, {first.folder} k={first.manifest.k}: "
                "merge sets of one k, or run prepare_shards again"
            )
        for component in part.manifest.components:
            name = part.renamed(component.name)
            if name in owner:
                raise ConfigError(
                    f"component {name!r} is in {owner[name]} and in {part.folder}: tell them apart with "
                    "--prefixes, one for each input"
                )
            owner[name] = part.folder
        for shard in part.manifest.shards:
            verify_shard(part.folder, part.manifest, shard)


def _merge(parts: Sequence[Part], folder: Path, seed: int) -> Manifest:
    stored = [
        (part, part.folder / shard.name, record)
        for part in parts
        for shard in part.manifest.shards
        for record in stored_records(part.folder / shard.name)
    ]
    split = parts[0].manifest.split
    order = random_order(len(stored), seed, SPLITS.index(split)).tolist()
    size = max(shard.num_records for part in parts for shard in part.manifest.shards)
    components = _components(parts)
    shards = []
    for number, first in enumerate(range(0, len(order), size)):
        records = [stored[at] for at in order[first : first + size]]
        shards.append(_write_shard(folder / f"shard-{number:06d}.tar", first, records, components))
    manifest = _described(parts, components, shards, seed)
    manifest.write(folder)
    return manifest


def _components(parts: Sequence[Part]) -> tuple[Component, ...]:
    total = sum(part.share for part in parts)
    return tuple(
        replace(one, name=part.renamed(one.name), weight=one.weight * (part.share / total))
        for part in parts
        for one in part.manifest.components
    )


def _described(
    parts: Sequence[Part], components: tuple[Component, ...], shards: Sequence[ShardFile], seed: int
) -> Manifest:
    manifests = [part.manifest for part in parts]
    contigs: list[ContigEntry] = [
        replace(contig, component=part.renamed(contig.component))
        for part in parts
        for contig in part.manifest.contigs
    ]

    def total(name: str) -> int:
        return sum(getattr(manifest, name) for manifest in manifests)

    return replace(
        manifests[0],
        seed=seed,
        min_stretch=min(manifest.min_stretch for manifest in manifests),
        non_acgt="unk" if any(manifest.non_acgt == "unk" for manifest in manifests) else "cut",
        block_bases=max(manifest.block_bases for manifest in manifests),
        num_records=total("num_records"),
        num_stretches=total("num_stretches"),
        num_bases=total("num_bases"),
        num_tokens=total("num_tokens"),
        base_counts={base: sum(one.base_counts[base] for one in manifests) for base in BASES},
        num_soft_masked=total("num_soft_masked"),
        num_short_stretches=total("num_short_stretches"),
        num_short_bases=total("num_short_bases"),
        num_not_bases=total("num_not_bases"),
        components=components,
        shards=tuple(shards),
        inputs=tuple(dict.fromkeys(file for manifest in manifests for file in manifest.inputs)),
        contigs=tuple(contigs),
    )


def _write_shard(
    path: Path,
    first_key: int,
    records: Sequence[tuple[Part, Path, StoredRecord]],
    components: Sequence[Component],
) -> ShardFile:
    place = {component.name: number for number, component in enumerate(components)}
    index = []
    with open(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (part, source, stored) in enumerate(records, start=first_key):
            with open(source, "rb") as given:
                contents = read_parts(given, stored)
            try:
                record = parse_record(stored.key, contents, part.manifest)
            except ValueError as error:
                raise ShardError(f"{source}, record {stored.key}: {error}: {REMEDY}") from None
            if part.prefix:
                contents["json"] = _renamed(contents["json"], part)
            parts = {}
            for ending, content in contents.items():
                parts[ending] = file.tell() + tarfile.BLOCKSIZE, len(content)
                member = tarfile.TarInfo(f"{number:08d}.{ending}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
            names = {one.name: place[part.renamed(one.name)] for one in part.manifest.components}
            index.append(index_rows(StoredRecord(stored.key, parts), record, names))
    rows = np.concatenate(index).astype(INDEX, copy=False)
    index_path = path.with_suffix(".index.npy")
    np.save(index_path, rows)
    return ShardFile(
        name=path.name,
        num_bytes=path.stat().st_size,
        sha256=file_sha256(path),
        index_sha256=file_sha256(index_path),
        num_records=len(records),
        num_stretches=len(rows),
        num_tokens=int(rows["tokens"].sum(dtype=np.int64)),
    )


def _renamed(description: bytes, part: Part) -> bytes:
    content = json.loads(description)
    for row in content["stretches"]:
        kind = next(kind for kind in KINDS if kind in row)
        row[kind] = part.renamed(row[kind])
    return json.dumps(content, separators=(",", ":")).encode()
