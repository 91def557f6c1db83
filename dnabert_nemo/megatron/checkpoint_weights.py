"""The weights of a checkpoint to resume from, whole and without its optimizer, in one process of any machine.

No model, process group or GPU is needed, whatever layout of ranks wrote it: Megatron's format is torch's, and
its tensors have their one-rank names.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as torch_checkpoint
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint, plain_tensors
from dnabert_nemo.megatron.checkpoint_pickles import plain_objects_only, read_metadata
from dnabert_nemo.megatron.tensor_shapes import Shapes

_UNREADABLE = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    CheckpointException,
)


def read_progress(path: Path) -> dict[str, Any]:
    """Check every byte of a checkpoint, and return what it keeps beside its tensors.

    Raises:
        CheckpointError: no complete checkpoint is there, or it is damaged or not plain data.
    """
    checkpoint.check_complete(path)
    try:
        with plain_objects_only():
            common = torch.load(path / "common.pt", map_location="cpu", weights_only=True)
        return dict(common["progress"])
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: damaged or not plain data ({_reason(error)}): {_REMEDY}") from error


def read_weights(path: Path, tensors: Shapes) -> dict[str, torch.Tensor]:
    """Return these tensors of a checked checkpoint, in the precision the model computed in.

    Raises:
        CheckpointError: the metadata asks for classes it does not need, or a tensor is missing, damaged or of
            another shape.
    """
    reader = _CheckedReader(path)
    stored = reader.read_metadata().state_dict_metadata
    weights = {}
    for name, shape in tensors.items():
        found = stored.get(name)
        if not isinstance(found, TensorStorageMetadata):
            raise CheckpointError(f"{path}: has no tensor {name!r}: it holds another kind of model")
        if tuple(found.size) != shape:
            raise CheckpointError(
                f"{path}: {name!r} is {list(found.size)} and its model config describes {list(shape)}: "
                f"{_REMEDY}"
            )
        weights[name] = torch.empty(shape, dtype=found.properties.dtype)
    try:
        with plain_objects_only(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as is meant
            torch_checkpoint.load(weights, storage_reader=reader, no_dist=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: damaged ({_reason(error)}): {_REMEDY}") from error
    return weights


_REMEDY = "use another checkpoint, one that dnabert_nemo wrote"


class _CheckedReader(FileSystemReader):
    """torch's reader, but for the metadata, a pickle, of which only the classes it needs are made."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._metadata = read_metadata(path / ".metadata")

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._metadata


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
    return f"{type(error).__name__}: {plain_tensors.reason(error)}"
