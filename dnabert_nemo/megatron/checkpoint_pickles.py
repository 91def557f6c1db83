"""Keeps the pickles in a checkpoint from running anything: each is read with the few classes it needs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint.metadata import Metadata

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint_folder

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


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _METADATA_CLASSES.get(module, ()):
            raise pickle.UnpicklingError(f"its metadata asks for {module}.{name}")
        return super().find_class(module, name)


def read_metadata(metadata: Path) -> Metadata:
    """Read the metadata of a checkpoint whose files have been checked, with only the classes it needs.

    Raises:
        CheckpointError: its pickle asks for another class, is cut short, or names a file that is not one of
            the checkpoint's.
    """
    try:
        with metadata.open("rb") as file:
            read = _MetadataUnpickler(file).load()
        named = {str(info.relative_path) for info in read.storage_data.values()}
        foreign = named - checkpoint_folder.names_in_manifest(metadata.parent)
        if foreign:
            raise pickle.UnpicklingError(f"its metadata names another file, {min(foreign)}")
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{metadata.parent}: refused: {error}; use a checkpoint that dnabert_nemo wrote"
        ) from error
    return cast(Metadata, read)


@contextmanager
def plain_objects_only() -> Iterator[None]:
    """Let torch.load refuse classes, whatever it is asked and whatever the environment says.

    torch itself reads a checkpoint's small objects as pickles of anything.
    """
    settings = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
    before = {name: os.environ.get(name) for name in settings}
    _set(settings)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
