"""Checkpoints to resume from, in Megatron's distributed format, which any sizes read.

A checkpoint is a folder that appears whole: it is written aside and renamed when every rank is done.
"""

from __future__ import annotations

import os
import pickle
import queue
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.transformer.module import MegatronModule
from torch.distributed.checkpoint.api import CheckpointException

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.optimizer import MegatronAdamW

UNFINISHED = ".unfinished"
_LAYOUT = "layout"


def save(path: Path, module: MegatronModule, optimizer: MegatronAdamW, progress: Mapping[str, Any]) -> None:
    """Write weights, optimizer and random states of all ranks, and rank 0's `progress`, to the folder `path`.

    Every rank calls. An existing checkpoint of that name is replaced once the new one is complete.
    """
    aside = path.with_name(path.name + UNFINISHED)
    if dist.get_rank() == 0:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    dist.barrier()
    state = _sharded_state(module, optimizer, loading=False)
    state["rng"] = _sharded_rng()
    state["progress"] = dict(progress)
    state[_LAYOUT] = _layout()
    # Results of writing come back to this very process. Megatron's queue for them, made for writing in the
    # background, is a server process of 300 MB that takes seconds to start and outlives a run that is killed.
    filesystem_async._results_queue = queue.Queue()
    dist_checkpointing.save(state, str(aside))
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
    dist.barrier()


def load(path: Path, module: MegatronModule, optimizer: MegatronAdamW) -> dict[str, Any]:
    """Read the weights and the optimizer into these of any sizes, and return `progress`; every rank calls.

    The random states are put back where the layout of ranks is the one that wrote them; elsewhere the ranks
    keep the states they were seeded with.

    Raises:
        CheckpointError: no complete checkpoint is there, it holds another model, or its metadata is not
        plain data.
    """
    if not all((path / name).is_file() for name in ("metadata.json", ".metadata", "common.pt")):
        raise CheckpointError(f"{path}: not a complete checkpoint: give the folder of one that was finished")
    _refuse_foreign_classes(path / ".metadata")
    try:
        common = dist_checkpointing.load_common_state_dict(str(path))
        same_layout = common[_LAYOUT] == _layout()
        wanted = _sharded_state(module, optimizer, loading=True)
        if same_layout:
            wanted["rng"] = _sharded_rng()
        with _plain_objects_only():
            state = dist_checkpointing.load(wanted, str(path))
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path}: does not fit this model or is damaged ({_reason(error)}): use another checkpoint"
        ) from error
    module.load_state_dict(state["model"])
    optimizer.load_sharded_state(state["optimizer"])
    if same_layout:
        topology.set_rng_state(state["rng"])
    return dict(common["progress"])


def newest(folder: Path) -> Path | None:
    """Find the finished checkpoint of the highest step, by the number its name ends in (`step=120.ckpt`).

    Of two of one step it is the one that names a metric: it was written later, after validation.
    """
    finished = {
        (int(match[1]), match.start() > 0): path
        for path in folder.glob("*.ckpt")
        if (match := re.search(r"step=(\d+)\.ckpt$", path.name)) and (path / "metadata.json").is_file()
    }
    return finished[max(finished)] if finished else None


def remove(path: Path) -> None:
    """Delete a checkpoint; while that lasts it does not count as finished."""
    (path / "metadata.json").unlink(missing_ok=True)
    shutil.rmtree(path)


def _sharded_state(module: MegatronModule, optimizer: MegatronAdamW, *, loading: bool) -> dict[str, Any]:
    metadata = {"non_homogeneous_layers": True, "distrib_optim_sharding_type": "fully_reshardable"}
    model = module.sharded_state_dict(metadata=metadata)
    return {"model": model, "optimizer": optimizer.sharded_state(model, metadata, loading=loading)}


def _sharded_rng() -> ShardedObject:
    return ShardedObject("rng", topology.rng_state(), (dist.get_world_size(),), (dist.get_rank(),))


def _layout() -> list[int]:
    return [*topology.running_sizes(), topology.data_size()]


# What torch's checkpoint metadata is made of. Anything else in that pickle is not ours, and would be run by
# reading it.
_METADATA_CLASSES = {
    "torch": {"Size"} | {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.planner": {"SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"},
}


# What torch and megatron-core raise for a file that is damaged or not what the model asks for.
_UNREADABLE = (
    KeyError,
    ValueError,
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    CheckpointingException,
    CheckpointException,
)


def _reason(error: BaseException) -> str:
    """Say in one short line what was wrong, on the first rank that said so."""
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


@contextmanager
def _plain_objects_only() -> Iterator[None]:
    """Let torch.load refuse classes: torch itself reads a checkpoint's small objects as pickles of
    anything.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _METADATA_CLASSES.get(module, ()):
            raise pickle.UnpicklingError(f"its metadata asks for {module}.{name}")
        return super().find_class(module, name)


def _refuse_foreign_classes(metadata: Path) -> None:
    """Read the metadata's pickle with only the classes it needs, before torch reads it with any."""
    with metadata.open("rb") as file:
        try:
            _MetadataUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{metadata.parent}: refused: {error}; use a checkpoint that dnabert_nemo wrote"
            ) from error
