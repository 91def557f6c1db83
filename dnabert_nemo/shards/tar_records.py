"""Where the records of a local shard lie in its tar; `verify`, `inspect` and `merge` walk it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dnabert_nemo.errors import ShardError
from dnabert_nemo.shards.contents import REMEDY

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of a shard, not yet read."""

    key: str
    parts: dict[str, tuple[int, int]]  # by ending (json, kmers.npy): the first byte in the tar, and how many


def stored_records(path: Path) -> Iterator[StoredRecord]:
    """Yield the records of a shard in their order; only headers and padding are read.

    The `tarfile` module would take a damaged header for the end of the archive.

    Raises:
        ShardError: the tar is damaged; says after which record.
    """
    record: StoredRecord | None = None
    with open(path, "rb") as file:
        for name, at, size in _members(file, path):
            key, _, part = name.partition(".")
            if record is None or key != record.key:
                if record is not None:
                    yield record
                record = StoredRecord(key, {})
            if part in record.parts:
                raise ShardError(f"{path}, record {key}: its {part} comes twice: {REMEDY}")
            record.parts[part] = at, size
    if record is not None:
        yield record


def read_parts(file: BinaryIO, record: StoredRecord) -> dict[str, bytes]:
    """Read the parts of a record from its open shard, by ending."""
    return {part: os.pread(file.fileno(), size, at) for part, (at, size) in record.parts.items()}


def _members(file: BinaryIO, path: Path) -> Iterator[tuple[str, int, int]]:
    end = os.fstat(file.fileno()).st_size
    after = "at its beginning"
    at = 0
    while any(block := file.read(_BLOCK)):
        try:
            member = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise ShardError(f"{path}, {after}: the tar's header at byte {at} is damaged: {REMEDY}") from None
        after = f"after {member.name}"
        content = at + _BLOCK
        padding = -member.size % _BLOCK
        if not member.isreg() or content + member.size + padding > end:
            raise ShardError(f"{path}, in {member.name}: the tar is damaged or cut off here: {REMEDY}")
        yield member.name, content, member.size
        file.seek(content + member.size)
        if any(file.read(padding)):
            raise ShardError(f"{path}, {after}: the padding is damaged: {REMEDY}")
        at = content + member.size + padding
    rest = file.read()
    if any(rest) or len(block) + len(rest) < 2 * _BLOCK:
        raise ShardError(f"{path}, {after}: the end of the tar is damaged or cut off: {REMEDY}")
