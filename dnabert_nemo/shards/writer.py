"""The second pass: records in random order into tars, each with an index beside it; after `scan`."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ShardError
from dnabert_nemo.genome.alphabet import BASES, SOFT
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.shards.manifest import Kind, ShardFile
from dnabert_nemo.shards.records import (
    INDEX,
    array_bytes,
    file_sha256,
    gather_records,
    random_order,
)


@dataclass(frozen=True)
class Origin:
    """Where the stretches of one contig, or one sample of reads, come from."""

    name: str
    kind: Kind
    component: str
    component_number: int  # in the set
    sources: tuple[str, ...]
    scratch: Path


@dataclass(frozen=True)
class ShardJob:
    """All that writing one shard takes, in any process on any machine that sees the folder."""

    folder: Path
    number: int  # of the shard in its set
    first_record: int  # number in the set of its first record
    k: int
    records: list[NDArray[np.void]]  # each STRETCH [num_stretches of the record]
    origins: dict[int, Origin]  # of its records' contigs


@dataclass(frozen=True)
class WrittenShard:
    """A shard, and what was counted while it was written; overlaps between parts are counted once."""

    file: ShardFile
    base_counts: NDArray[np.int64]  # [4]
    num_soft_masked: int


def plan_shards(
    folder: Path,
    stretches: NDArray[np.void],
    origins: Sequence[Origin],
    *,
    k: int,
    records_per_shard: int,
    seed: int,
    stream: int,
) -> list[ShardJob]:
    """Gather the stretches of one set into records, permute these, and share them out to shards.

    `origins` has one for each contig.
    """
    begins = gather_records(stretches["bases"])
    order = random_order(len(begins) - 1, seed, stream)
    jobs = []
    for number, first in enumerate(range(0, len(order), records_per_shard)):
        records = [
            stretches[begins[record] : begins[record + 1]]
            for record in order[first : first + records_per_shard].tolist()
        ]
        named = {contig: origins[contig] for record in records for contig in record["contig"].tolist()}
        jobs.append(ShardJob(folder, number, first, k, records, named))
    return jobs


def write_shard(job: ShardJob) -> WrittenShard:
    """Write one shard and its index, one record in memory at a time.

    Raises:
        ShardError: this machine does not see the scratch files of the first pass.
    """
    path = job.folder / f"shard-{job.number:06d}.tar"
    index: list[tuple[int, int, int, int]] = []
    base_counts = np.zeros(len(BASES), dtype=np.int64)
    num_soft_masked = 0
    with ExitStack() as files:
        scratch = {
            path: files.enter_context(_opened(path)) for path in {one.scratch for one in job.origins.values()}
        }
        file = files.enter_context(open(path, "wb"))
        tar = files.enter_context(tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT))
        for key, record in enumerate(job.records, start=job.first_record):
            stretches = [_read(row, job.origins[row[0]], scratch) for row in record.tolist()]
            index += _add_record(tar, file, f"{key:08d}", stretches, job.k)
            for stretch in stretches:
                base_counts += np.bincount(stretch.codes[stretch.overlap :], minlength=8)[: len(BASES)]
                num_soft_masked += int(np.count_nonzero(stretch.is_soft[stretch.overlap :]))
    index_path = path.with_suffix(".index.npy")
    np.save(index_path, np.array(index, dtype=INDEX))
    described = ShardFile(
        name=path.name,
        num_bytes=path.stat().st_size,
        sha256=file_sha256(path),
        index_sha256=file_sha256(index_path),
        num_records=len(job.records),
        num_stretches=len(index),
        num_tokens=sum(tokens for _, tokens, _, _ in index),
    )
    return WrittenShard(described, base_counts, num_soft_masked)


@dataclass(frozen=True, eq=False, slots=True)
class _Stretch:
    origin: Origin
    name: str  # of its contig or read
    source: str
    start: int
    overlap: int
    codes: NDArray[np.uint8]
    is_soft: NDArray[np.bool_]


def _read(row: tuple[int, ...], origin: Origin, scratch: dict[Path, BinaryIO]) -> _Stretch:
    _, start, bases, overlap, source, name_bytes, at = row
    before = name_bytes + start if name_bytes else 0  # a read's name stands before its first letter
    content = os.pread(scratch[origin.scratch].fileno(), before + bases, at - before)
    if len(content) != before + bases:
        raise ShardError(
            f"{origin.scratch}: ends too early, it was changed meanwhile: run prepare_shards again"
        )
    letters = np.frombuffer(content, dtype=np.uint8)[before:]
    name = content[:name_bytes].decode("ascii") or origin.name
    return _Stretch(
        origin, name, origin.sources[source], start, overlap, letters & np.uint8(SOFT - 1), letters >= SOFT
    )


def _add_record(
    tar: tarfile.TarFile, file: BinaryIO, key: str, stretches: Sequence[_Stretch], k: int
) -> list[tuple[int, int, int, int]]:
    """Add one record and return its rows of the index."""
    ids = [kmer_ids(stretch.codes, k, keep_unknown=True) for stretch in stretches]
    no_bits = np.empty(0, dtype=np.uint8)
    masks = [np.packbits(one.is_soft) if one.is_soft.any() else no_bits for one in stretches]
    rows = []
    offset = 0
    for stretch, tokens in zip(stretches, map(len, ids), strict=True):
        origin = stretch.origin
        rows.append(
            {
                "offset": offset,
                "tokens": tokens,
                origin.kind: origin.component,
                "read" if origin.kind == "sample" else "contig": stretch.name,
                "start": stretch.start,
                "end": stretch.start + len(stretch.codes),
                "strand": "+",
                "soft_masked": int(np.count_nonzero(stretch.is_soft)),
                "source": stretch.source,
            }
        )
        offset += tokens
    description = json.dumps({"k": k, "stretches": rows}, separators=(",", ":"))
    _add(tar, f"{key}.json", description.encode())
    ids_at = _add_array(tar, file, f"{key}.kmers.npy", ids)
    soft_at = _add_array(tar, file, f"{key}.softmask.npy", masks) if any(map(len, masks)) else ids_at
    return [
        (first_id, len(own), first_bits if len(mask) else -1, stretch.origin.component_number)
        for first_id, own, first_bits, mask, stretch in zip(
            ids_at, ids, soft_at, masks, stretches, strict=True
        )
    ]


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise ShardError(
            f"{path}: what the first pass wrote is not to be seen from here: pass a scratch_dir on a file "
            "system that all machines share"
        ) from None


def _add_array(tar: tarfile.TarFile, file: BinaryIO, name: str, pieces: Sequence[NDArray[Any]]) -> list[int]:
    """Add the pieces, one after the other, as one array; return the byte in the tar each starts at."""
    content, first = array_bytes(np.concatenate(pieces))
    at = file.tell() + tarfile.BLOCKSIZE + first
    _add(tar, name, content)
    ends = np.cumsum([piece.nbytes for piece in pieces]).tolist()
    return [at + end - piece.nbytes for end, piece in zip(ends, pieces, strict=True)]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # its owner and time are zero unless set: the bytes depend on nothing else
    member.size = len(content)
    tar.addfile(member, BytesIO(content))
