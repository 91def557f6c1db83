"""What a frozen encoder made of a dataset, kept on disk: other heads and seeds need not wait for it again.

n sequences, H hidden.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dnabert_nemo.errors import CheckpointError

_NAME = "features"


def key(encoder: Mapping[str, torch.Tensor], *told: str) -> str:
    """Return a hash, in hex, of an encoder's whole tensors and of all else that features depend on."""
    found = hashlib.sha256("\n".join(told).encode())
    for name in sorted(encoder):
        tensor = encoder[name].detach().cpu().contiguous()
        found.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.view(torch.uint8).numpy())
    return found.hexdigest()


def read(path: Path, shape: tuple[int, int]) -> torch.Tensor | None:
    """Return the features [n, H] in a file; None where there is none, or one that is damaged."""
    try:
        features = load_file(path)[_NAME]
    except (OSError, KeyError, SafetensorError):
        return None
    return features if tuple(features.shape) == shape else None


def write(path: Path, features: torch.Tensor) -> None:
    """Put features [n, H] into a file, which is there whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({_NAME: features.contiguous()}, aside)
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            aside.unlink()
        raise CheckpointError(
            f"model.data.features_dir={path.parent}: cannot be written ({error}): give another, or null"
        ) from error
