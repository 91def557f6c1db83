"""The second pass: records in random order into tars, each with an index beside it; after `scan`."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.shards.manifest import ContigEntry, ShardFile
from dnabert_nemo.shards.records import array_bytes, description_bytes, gather_records, random_order


@dataclass(frozen=True)
class ShardJob:
    """All that writing one shard takes, in any process."""

    folder: Path
    number: int  # of the shard in its set
    first_record: int  # number in the set of its first record
    k: int
    scratch: Path
    records: list[NDArray[np.void]]  # each STRETCH [num_stretches of the record]
    contigs: dict[int, ContigEntry]  # those of its records


def plan_shards(
    folder: Path,
    scratch: Path,
    stretches: NDArray[np.void],
    contigs: Sequence[ContigEntry],
    *,
    k: int,
    records_per_shard: int,
    seed: int,
    stream: int,
) -> list[ShardJob]:
    """Gather the stretches of one set into records, permute these, and share them out to shards."""
    begins = gather_records(stretches["bases"])
    order = random_order(len(begins) - 1, seed, stream)
    jobs = []
    for number, first in enumerate(range(0, len(order), records_per_shard)):
        records = [
            stretches[begins[record] : begins[record + 1]]
            for record in order[first : first + records_per_shard].tolist()
        ]
        named = {contig: contigs[contig] for record in records for contig in record["contig"].tolist()}
        jobs.append(ShardJob(folder, number, first, k, scratch, records, named))
    return jobs


def write_shards(jobs: Sequence[ShardJob], num_workers: int) -> Iterator[ShardFile]:
    """Write shards, in `num_workers` processes if more than one; yields them in the order of the jobs."""
    if num_workers == 1 or len(jobs) == 1:
        yield from map(write_shard, jobs)
        return
    # Spawned, not forked: the caller may hold threads.
    context = multiprocessing.get_context("spawn")
    num_workers = min(num_workers, len(jobs))
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_end_with_parent) as pool:
        yield from pool.map(write_shard, jobs)


def write_shard(job: ShardJob) -> ShardFile:
    """Write one shard and its index, one record in memory at a time."""
    path = job.folder / f"shard-{job.number:06d}.tar"
    index: list[tuple[int, int]] = []
    with (
        open(job.scratch, "rb") as scratch,
        open(path, "wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for key, record in enumerate(job.records, start=job.first_record):
            pieces = [kmer_ids(codes, job.k) for codes in _codes(scratch.fileno(), record)]
            content, first_id = array_bytes(np.concatenate(pieces))
            _add(tar, f"{key:08d}.json", description_bytes(record, job.contigs, job.k))
            at = file.tell() + tarfile.BLOCKSIZE + first_id
            for ids in pieces:
                index.append((at, len(ids)))
                at += ids.nbytes
            _add(tar, f"{key:08d}.kmers.npy", content)
    shard = ShardFile(path.name, path.stat().st_size, file_sha256(path), len(job.records), len(index))
    np.save(job.folder / shard.index_name, np.array(index, dtype="<i8"))
    return shard


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _end_with_parent() -> None:
    # The workers of a killed run would wait for ever, or write on into the folder of the run after it.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _codes(scratch: int, record: NDArray[np.void]) -> Iterable[NDArray[np.uint8]]:
    for at, bases in zip(record["scratch"].tolist(), record["bases"].tolist(), strict=True):
        yield np.frombuffer(os.pread(scratch, bases, at), dtype=np.uint8)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # its owner and time are zero unless set: the bytes depend on nothing else
    member.size = len(content)
    tar.addfile(member, BytesIO(content))
