"""Writes a checkpoint whose state has been copied, in a thread of each rank, while training goes on.

The threads take part in no collective operation, so none can get between those of training: they tell each
other how it went through the key-value store that the ranks met at. Rank 0's puts the whole in place.
"""

from __future__ import annotations

import io
import pickle
import queue
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, is_main_replica
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from torch.distributed.checkpoint.filesystem import SerializationFormat, _write_item
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.storage import WriteResult

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint_folder
from dnabert_nemo.megatron.checkpoint_folder import HashedFile, Written

COMMON, METADATA, CONFIG = "common.pt", ".metadata", "metadata.json"
_BACKEND = ("torch_dist", 1)
_NUM_FILES = 2  # of a rank, each written by a thread
_LONGEST_WAIT = 30 * 60.0  # seconds for the slowest rank's file after one's own


class Board(Protocol):
    """Where the ranks leave each other notes: torch's Store."""

    def set(self, key: str, value: bytes) -> None: ...

    def check(self, keys: list[str]) -> bool: ...

    def get(self, key: str) -> bytes: ...

    def delete_key(self, key: str) -> bool: ...


Bucket = tuple[str, list[Any]]  # a file's name, and what goes into it, each with its item


@dataclass(frozen=True)
class Part:
    """What one rank writes: its files; rank 0 the common part and the metadata too."""

    writer: filesystem_async.FileSystemWriterAsync
    buckets: list[Bucket]
    metadata: Metadata | None = None
    common: bytes = b""

    def write(self, aside: Path) -> tuple[list[WriteResult], list[Written]]:
        """Write this rank's files at the same time; return where each item is, and their checksums."""
        with ThreadPoolExecutor(max_workers=_NUM_FILES) as threads:
            written = list(threads.map(lambda bucket: self._write_file(aside, *bucket), self.buckets))
        results = [result for of_file, _ in written for result in of_file]
        files = [file for _, file in written]
        if self.metadata is not None:
            with HashedFile(aside / COMMON) as file:
                file.write(self.common)
            files.append(file.written)
        return results, files

    def _write_file(self, aside: Path, name: str, items: list[Any]) -> tuple[list[WriteResult], Written]:
        results = []
        with HashedFile(aside / name) as file:
            for item, data in items:
                try:
                    how = (self.writer.transforms, file, data, item, name, SerializationFormat.TORCH_SAVE)
                    results.append(_write_item(*how))
                except RuntimeError:  # torch's own, for any error of the file
                    if file.error is None:
                        raise
                    raise file.error from None
        return results, file.written

    def write_rest(self, aside: Path, results: list[list[WriteResult]], files: list[Written]) -> None:
        """Write what is known once every rank has written: rank 0's."""
        self.writer.finish(self.metadata, results)
        save_config(CheckpointingConfig(*_BACKEND), str(aside))
        rest = [checkpoint_folder.written(aside / name) for name in (METADATA, CONFIG)]
        checkpoint_folder.write_manifest(aside, [*files, *rest])


class _Planned(TorchDistSaveShardedStrategy):
    """Megatron's plan of who writes what, without its writing, which forks processes."""

    def _get_save_and_finalize_callbacks(self, writer: Any, planned: Any) -> Any:
        return writer, planned[1]


class _Copies:
    """Host memory for copies of what is written, kept from save to save: fresh memory costs more time."""

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] = []

    def of(self, shards: list[ShardedTensor]) -> None:
        """Put copies in the place of the tensors that this rank writes."""
        written = [shard for shard in shards if is_main_replica(shard.replica_id)]
        copies = []
        for number, shard in enumerate(written):
            copy = self._kept[number] if number < len(self._kept) else None
            if copy is None or copy.shape != shard.data.shape or copy.dtype != shard.data.dtype:
                copy = torch.empty(shard.data.shape, dtype=shard.data.dtype, pin_memory=shard.data.is_cuda)
            copy.copy_(shard.data.detach(), non_blocking=True)
            shard.data = copy
            copies.append(copy)
        torch.cuda.synchronize()
        self._kept = copies


_copies = _Copies()


def plan(sharded: dict[str, Any], common: dict[str, Any], aside: Path, *, copy: bool) -> Part:
    """Agree on who writes what, and take this rank's part to the host; every rank calls.

    With `copy` the part is this call's alone, and training may change what it was made of.
    """
    if copy:
        _copies.of([each for each in nested_values(sharded) if isinstance(each, ShardedTensor)])
    use_queue_of_this_process()
    writer, metadata = _Planned(*_BACKEND, thread_count=_NUM_FILES).async_save(sharded, aside)
    buckets = [
        (name, [*objects, *((item, tensor.cpu()) for item, tensor in tensors)])
        for _, name, (objects, tensors) in writer.write_buckets
    ]
    writer.write_buckets = None
    if metadata is None:
        return Part(writer, buckets)
    return Part(writer, buckets, metadata, _as_bytes(common))


def use_queue_of_this_process() -> None:
    """Keep Megatron's planning from starting a server process of 300 MB for the results of its writers."""
    filesystem_async._results_queue = queue.Queue()


class Saving:
    """A checkpoint being written, at the same time on every rank; it has begun when this is made."""

    def __init__(
        self, path: Path, aside: Path, part: Part, board: Board, *, rank: int, num_ranks: int, number: int
    ) -> None:
        self.path, self._aside, self._part = path, aside, part
        self._board, self._rank, self._num_ranks, self._number = board, rank, num_ranks, number
        self._failure: str | None = None
        self._longest_wait = _LONGEST_WAIT
        if rank == 0 and number > 0:  # every rank has read it, or it would not be here
            board.delete_key(f"checkpoint/{number - 1}/outcome")
        # no daemon: Python waits for it at the end of the process
        self._thread = threading.Thread(target=self._run, name=f"checkpoint {path.name}")
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it is in place, or has failed."""
        return not self._thread.is_alive()

    @property
    def has_failed(self) -> bool:
        """Whether it is known to have failed."""
        return self.is_done and self._failure is not None

    def wait(self, at_most: float | None = None) -> None:
        """Return when it is in place.

        Args:
            at_most: seconds to give the other ranks, which may be gone, once this rank's file is written.

        Raises:
            CheckpointError: it could not be written, on every rank alike; what was there before is untouched.
        """
        if at_most is not None:
            self._longest_wait = at_most
        self._thread.join()
        if self._failure is not None:
            raise CheckpointError(
                f"{self.path}: could not be written: {self._failure}; the checkpoints before it are as they "
                "were: put that right and give the same command again, which goes on from the newest"
            )

    def _run(self) -> None:
        results, files, failure = self._write()
        try:
            self._board.set(self._key(self._rank), pickle.dumps((results, files, failure)))
            if self._rank == 0:
                self._failure = self._finish()
                self._board.set(self._key("outcome"), (self._failure or "").encode())
            else:
                self._failure = self._read(self._key("outcome")).decode() or None
        except Exception as error:
            self._failure = self._failure or checkpoint_folder.reason(error, self._aside)
        del self._part  # the copied tensors

    def _write(self) -> tuple[list[WriteResult], list[Written], str | None]:
        try:
            return *self._part.write(self._aside), None
        except Exception as error:
            return [], [], checkpoint_folder.reason(error, self._aside)

    def _finish(self) -> str | None:
        """Put the checkpoint in place if every rank has written its part, and say why not otherwise."""
        try:
            parts = []
            for rank in range(self._num_ranks):
                parts.append(pickle.loads(self._read(self._key(rank))))
                self._board.delete_key(self._key(rank))
            failure: str | None = next((f"rank {n}: {p[2]}" for n, p in enumerate(parts) if p[2]), None)
            if failure is None:
                self._part.write_rest(
                    self._aside, [p[0] for p in parts], [file for p in parts for file in p[1]]
                )
                checkpoint_folder.put_in_place(self._aside, self.path)
                return None
        except Exception as error:
            failure = checkpoint_folder.reason(error, self._aside)
        shutil.rmtree(self._aside, ignore_errors=True)
        return failure if self._num_ranks > 1 else failure.removeprefix("rank 0: ")

    def _read(self, key: str) -> bytes:
        """Wait for another rank's note, looking now and then: to block would keep others from the store."""
        began, pause = time.monotonic(), 0.01
        while not self._board.check([key]):
            if time.monotonic() - began > self._longest_wait:
                raise TimeoutError("another rank did not write its part")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return self._board.get(key)

    def _key(self, of: int | str) -> str:
        return f"checkpoint/{self._number}/{of}"


def _as_bytes(common: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(common, content)
    return content.getvalue()
