"""Tensors by name from the bytes of a file that torch saved, with nothing in it run and nothing unfolded."""

from __future__ import annotations

import io
import pickle
import re
import zipfile

import torch


def load(content: bytes) -> dict[str, torch.Tensor]:
    """Load tensors by their names.

    Raises:
        ValueError: the bytes are damaged, or hold anything but plain tensors; one line says which.
    """
    try:
        _refuse_packed(content)
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"is damaged or not plain tensors ({reason(error)})") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()
    ):
        raise ValueError("holds other things than tensors")
    for name, value in tensors.items():
        if value.is_nested or value.layout is not torch.strided or value.device.type != "cpu":
            raise ValueError(f"has {name!a:.100} as no plain tensor")
    numbers = sum(value.numel() for value in tensors.values())
    if numbers > 2 * len(content):  # tied tensors are there once and counted twice
        raise ValueError(f"unfolds {len(content):,} bytes into {numbers:,} numbers")
    return dict(tensors)


def reason(error: BaseException) -> str:
    """Say in one short line why torch did not load a file: its own advice is to run what is in it."""
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    return (
        f"it asks for {foreign[1]}"
        if foreign
        else next(iter(str(error).splitlines()), type(error).__name__)[:200]
    )


def _refuse_packed(content: bytes) -> None:
    """Refuse an archive whose entries are packed or overlap, and so unfold to more than it has."""
    if content[:2] != b"PK":
        return  # of torch before 1.6, which packs nothing
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    unfolded = sum(entry.file_size for entry in entries)
    if unfolded > len(content) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(f"{unfolded:,} bytes packed into {len(content):,}")
