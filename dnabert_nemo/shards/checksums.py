"""A shard set held against its checksums, and the record at fault found where they do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ShardError
from dnabert_nemo.shards.contents import REMEDY, Record, parse_record
from dnabert_nemo.shards.manifest import MANIFEST, Manifest, ShardFile
from dnabert_nemo.shards.reader import ShardSet, checked_index
from dnabert_nemo.shards.records import INDEX, file_sha256
from dnabert_nemo.shards.tar_records import StoredRecord, read_parts, stored_records


def verify_set(path: str | Path) -> Iterator[tuple[ShardFile, ShardError | None]]:
    """Yield every shard of a set with what is wrong with it, or with its index, or None.

    Raises:
        ShardError: the set as a whole is unfinished or damaged; at the end, where its shards are sound.
    """
    folder = Path(path).absolute()
    # not opened before its shards are checked: that would tell of a file that is too short, not of the record
    manifest = Manifest.read(folder) if (folder / MANIFEST).is_file() else ShardSet.open(path).manifest
    is_sound = True
    for shard in manifest.shards:
        error = None
        try:
            verify_shard(folder, manifest, shard)
        except ShardError as damage:
            error, is_sound = damage, False
        yield shard, error
    if is_sound:
        ShardSet.open(path)


def verify_shard(folder: Path, manifest: Manifest, shard: ShardFile) -> None:
    """Check a shard and its index: sizes, checksums, and numbers of stretches and tokens.

    Raises:
        ShardError: they are not what the manifest says; says at which record, where that can be told.
    """
    if not _is_as_described(folder / shard.name, shard.sha256):
        check_records(folder, manifest, shard)
        raise _unlike(folder / shard.name)
    index = checked_index(folder, shard)
    if not _is_as_described(folder / shard.index_name, shard.index_sha256):
        check_records(folder, manifest, shard, index)
        raise _unlike(folder / shard.index_name)
    if index["tokens"].sum() != shard.num_tokens:
        problem = f"{index['tokens'].sum()} tokens, {MANIFEST} says {shard.num_tokens}"
        raise ShardError(f"{folder / shard.index_name}: {problem}: {REMEDY}")


def check_records(
    folder: Path, manifest: Manifest, shard: ShardFile, index: NDArray[np.void] | None = None
) -> None:
    """Read every record of a shard and hold it against itself, the manifest and, if given, the index.

    Raises:
        ShardError: one does not agree; names its file and its key.
    """
    path = folder / shard.name
    place = {component.name: number for number, component in enumerate(manifest.components)}
    contigs = {(contig.component, contig.name) for contig in manifest.contigs}
    sources = {name for contig in manifest.contigs for name in contig.sources}
    num_records = num_stretches = 0
    with open(path, "rb") as file:
        for stored in stored_records(path):
            try:
                record = parse_record(stored.key, read_parts(file, stored), manifest)
                _check_names(record, place, contigs, sources)
            except ValueError as error:
                raise ShardError(f"{path}, record {stored.key}: {error}: {REMEDY}") from None
            rows = index_rows(stored, record, place)
            expected = rows if index is None else index[num_stretches : num_stretches + len(rows)]
            if not np.array_equal(rows, expected):
                problem = f"not where the records of {shard.name} lie"
                raise ShardError(f"{folder / shard.index_name}, record {stored.key}: {problem}: {REMEDY}")
            num_records += 1
            num_stretches += len(rows)
    if num_records != shard.num_records:
        raise ShardError(f"{path}: {num_records} records, {MANIFEST} says {shard.num_records}: {REMEDY}")


def index_rows(stored: StoredRecord, record: Record, component: dict[str, int]) -> NDArray[np.void]:
    """Return the rows of the index of a record, INDEX [m]; `component` has the numbers of names."""
    rows = np.empty(len(record.rows), dtype=INDEX)
    ids_at, num_bytes = stored.parts["kmers.npy"]
    rows["ids_at"] = ids_at + num_bytes - record.ids.nbytes + record.offsets * record.ids.itemsize
    rows["tokens"] = record.tokens
    rows["soft_at"] = -1
    if "softmask.npy" in stored.parts:
        bits_at, num_bytes = stored.parts["softmask.npy"]
        has_bits = record.soft_at >= 0
        rows["soft_at"][has_bits] = (bits_at + num_bytes - record.soft_bits.nbytes + record.soft_at)[has_bits]
    rows["component"] = [component[name] for name in record.components]
    return rows


def _check_names(
    record: Record, components: dict[str, int], contigs: set[tuple[str, str]], sources: set[str]
) -> None:
    for row, component in zip(record.rows, record.components, strict=True):
        if component not in components:
            raise ValueError(f"json: no component {component!r} in {MANIFEST}")
        if "contig" in row and (component, row["contig"]) not in contigs:
            raise ValueError(f"json: no contig {row['contig']!r} of {component} in {MANIFEST}")
        if row["source"] not in sources:
            raise ValueError(f"json: no input {row['source']!r} in {MANIFEST}")


def _is_as_described(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except FileNotFoundError:
        raise ShardError(f"{path}: this part of the shard set is missing: {REMEDY}") from None
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror}: {REMEDY}") from None


def _unlike(path: Path) -> ShardError:
    problem = f"its bytes are not those {MANIFEST} has the checksum of, though each of its records reads well"
    return ShardError(f"{path}: {problem}: {REMEDY}")
