"""Checkpoints to resume from, in Megatron's distributed format, which any sizes read.

A checkpoint is a folder that appears whole, with the checksum of every file (`checkpoint_folder`). The state
is copied, then written in the background (`checkpoint_saving`).
"""

from __future__ import annotations

import itertools
import logging
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from torch.distributed.checkpoint.api import CheckpointException

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint_folder, checkpoint_saving, topology
from dnabert_nemo.megatron.checkpoint_pickles import plain_objects_only, read_metadata
from dnabert_nemo.megatron.checkpoint_saving import COMMON, CONFIG, METADATA, Saving
from dnabert_nemo.megatron.optimizer import MegatronAdamW

__all__ = ["begin", "check_complete", "choose", "load", "newest", "read_metadata", "remove", "save"]

_LAYOUT = "layout"
_numbers = itertools.count()
log = logging.getLogger("dnabert_nemo")
T = TypeVar("T")


def save(path: Path, module: torch.nn.Module, optimizer: MegatronAdamW, progress: Mapping[str, Any]) -> None:
    """Write weights, optimizer and random states of all ranks, and rank 0's `progress`, to the folder `path`.

    Every rank calls. An existing checkpoint of that name is replaced once the new one is complete.

    Raises:
        CheckpointError: it could not be written, on every rank alike; what was there before is untouched.
    """
    begin(path, module, optimizer, progress, copy=False).wait()


def begin(
    path: Path, module: torch.nn.Module, optimizer: MegatronAdamW, progress: Mapping[str, Any], *, copy: bool
) -> Saving:
    """Begin to `save`, and return what to wait for; every rank calls, and waits before it begins the next.

    Args:
        copy: let training go on at once, and change what is being written: it is copied first.

    Raises:
        CheckpointError: the folder cannot be made.
    """

    def make_aside() -> Path:
        try:
            return checkpoint_folder.make_aside(path)
        except OSError as error:
            why = checkpoint_folder.reason(error, path)
            raise CheckpointError(f"{path}: could not be written: {why}: put that right") from error

    aside = by_first_rank(make_aside)
    state = _sharded_state(module, optimizer, loading=False)
    state["rng"] = _sharded_rng()
    state["progress"] = dict(progress)
    state[_LAYOUT] = _layout()
    sharded, common = save_preprocess(state)
    return Saving(
        path,
        aside,
        checkpoint_saving.plan(sharded, common, aside, copy=copy),
        dist.distributed_c10d._get_default_store(),
        rank=dist.get_rank(),
        num_ranks=dist.get_world_size(),
        number=next(_numbers),
    )


def load(
    path: Path, module: torch.nn.Module, optimizer: MegatronAdamW, *, is_checked: bool = False
) -> dict[str, Any]:
    """Read the weights and the optimizer into these of any sizes, and return `progress`; every rank calls.

    The random states are put back where the layout of ranks is the one that wrote them; elsewhere the ranks
    keep the states they were seeded with.

    Args:
        is_checked: the checksums of its files have just been compared (`choose` does).

    Raises:
        CheckpointError: no complete checkpoint is there, its bytes are not those that were written, it holds
            another model, or its metadata is not plain data.
    """
    if not is_checked:
        by_first_rank(lambda: check_complete(path))
    read_metadata(path / METADATA)  # before torch reads it with any class
    try:
        with plain_objects_only():
            common = dist_checkpointing.load_common_state_dict(str(path))
            same_layout = common[_LAYOUT] == _layout()
            wanted = _sharded_state(module, optimizer, loading=True)
            if same_layout:
                wanted["rng"] = _sharded_rng()
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
    """Find the checkpoint of the highest step by its name (`step=120.ckpt`); `choose` also looks into it."""
    found = checkpoint_folder.finished(folder)
    return found[0].path if found else None


def choose(folder: Path) -> Path:
    """Find the newest checkpoint that is whole, on every rank the one that rank 0 finds; every rank calls.

    Newer ones that are damaged are put aside, and a warning names them and the one that is used.

    Raises:
        CheckpointError: none is whole.
    """
    path, damaged = by_first_rank(lambda: checkpoint_folder.newest_whole(folder))
    for aside, problem in damaged if dist.get_rank() == 0 else ():
        log.warning(
            "%s is damaged (%s) and was put aside as %s: resuming from the one before it, %s",
            aside.name.removesuffix(checkpoint_folder.DAMAGED),
            problem,
            aside,
            path,
        )
    return path


def remove(path: Path) -> None:
    """Delete a checkpoint, if it is there; from the first instant it counts as none."""
    checkpoint_folder.remove(path)


def save_as_megatron_does(folder: Path, module: torch.nn.Module, optimizer: MegatronAdamW) -> None:
    """Write weights and optimizer into an empty folder with megatron-core's own writers, for comparison."""
    checkpoint_saving.use_queue_of_this_process()
    dist_checkpointing.save(_sharded_state(module, optimizer, loading=False), str(folder))


def check_complete(path: Path) -> None:
    """Compare every byte of a checkpoint with what was written, in this process alone.

    Raises:
        CheckpointError: it is none that was finished, or is damaged.
    """
    if not all((path / name).is_file() for name in (checkpoint_folder.MANIFEST, CONFIG, METADATA, COMMON)):
        raise CheckpointError(f"{path}: not a complete checkpoint: give the folder of one that was finished")
    problem = checkpoint_folder.damage(path)
    if problem is not None:
        raise CheckpointError(f"{path}: damaged: {problem}: use another checkpoint")


def by_first_rank(function: Callable[[], T]) -> T:
    """Return what a function returns on rank 0, or raise what it raises there, on every rank."""
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = function()
        except CheckpointError as error:
            told[1] = error
    dist.broadcast_object_list(told)
    result, error = told
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _sharded_state(module: torch.nn.Module, optimizer: MegatronAdamW, *, loading: bool) -> dict[str, Any]:
    metadata = {"non_homogeneous_layers": True, "distrib_optim_sharding_type": "fully_reshardable"}
    model = module.sharded_state_dict(metadata=metadata)
    return {"model": model, "optimizer": optimizer.sharded_state(model, metadata, loading=loading)}


def _sharded_rng() -> ShardedObject:
    return ShardedObject("rng", topology.rng_state(), (dist.get_world_size(),), (dist.get_rank(),))


def _layout() -> list[int]:
    return [*topology.running_sizes(), topology.data_size()]


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
    if isinstance(error, pickle.UnpicklingError):  # torch's message tells how to run the file
        named = re.search(r"GLOBAL (\S+)", str(error))
        return f"it asks for {named[1].rstrip('.') if named else 'more than plain data'}"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"
