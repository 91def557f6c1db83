"""The .nemo file: config, vocabulary and one-rank weights in a tar, as NeMo's own restore reads it.

Reading executes nothing from the file: the weights are loaded as plain tensors, the config as plain YAML.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from dnabert_nemo.errors import CheckpointError, FormatError
from dnabert_nemo.kmer.vocabulary import Vocabulary

CONFIG, WEIGHTS, VOCABULARY = "model_config.yaml", "model_weights.ckpt", "vocab.txt"
_REMEDY = "give a .nemo file that dnabert_nemo wrote"


@dataclass(frozen=True)
class NemoFile:
    """What a .nemo file holds: the model's config, its vocabulary, whole tensors by their one-rank names."""

    config: dict[str, Any]
    vocabulary: Vocabulary
    weights: dict[str, torch.Tensor]


def write(
    path: Path, config: Mapping[str, Any], vocabulary: Vocabulary, weights: Mapping[str, torch.Tensor]
) -> None:
    """Write a .nemo file aside and rename it; the same contents give the same bytes."""
    config = {**config, "tokenizer": {**config["tokenizer"], "vocab_file": f"nemo:{VOCABULARY}"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".unfinished")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        members = Path(folder)
        (members / CONFIG).write_text(yaml.safe_dump(config, sort_keys=True))
        vocabulary.write(members / VOCABULARY)
        torch.save(dict(sorted(weights.items())), members / WEIGHTS)
        with tarfile.open(aside, "w:", format=tarfile.PAX_FORMAT) as tar:
            for name in (CONFIG, VOCABULARY, WEIGHTS):
                tar.add(members / name, arcname=f"./{name}", filter=_without_origin)
    aside.rename(path)


def read(path: Path) -> NemoFile:
    """Read a .nemo file.

    Raises:
        CheckpointError: it is missing, not a tar, lacks a member, or holds anything but plain data.
    """
    config = read_config(path)
    with _open(path) as tar, tempfile.TemporaryDirectory() as folder:
        words = Path(folder, VOCABULARY)
        words.write_bytes(_member(tar, path, VOCABULARY))
        content = _member(tar, path, WEIGHTS)
        try:
            vocabulary = Vocabulary.read(words)
        except FormatError as error:
            raise CheckpointError(f"{path}: its {error.path.name} is damaged: {_REMEDY}") from error
    if vocabulary.k != config["tokenizer"]["k"]:
        raise CheckpointError(f"{path}: its {VOCABULARY} is of another k than its {CONFIG}: {_REMEDY}")
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{path}: its weights are damaged or not plain tensors ({reason}): {_REMEDY}"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise CheckpointError(f"{path}: its {WEIGHTS} holds other things than tensors: {_REMEDY}")
    return NemoFile(config, vocabulary, weights)


def read_config(path: Path) -> dict[str, Any]:
    """Read only the model's config from a .nemo file (raises as `read` does)."""
    with _open(path) as tar:
        content = _member(tar, path, CONFIG)
    try:
        config = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: its {CONFIG} is not plain YAML: {_REMEDY}") from error
    if not isinstance(config, dict) or not isinstance(config.get("tokenizer"), dict):
        raise CheckpointError(f"{path}: its {CONFIG} describes no tokenizer: {_REMEDY}")
    if "k" not in config["tokenizer"]:
        raise CheckpointError(f"{path}: its {CONFIG} has no tokenizer.k: {_REMEDY}")
    if _asks_for_a_class(config):
        raise CheckpointError(
            f"{path}: its {CONFIG} has a key _target_, and no class of a file's choice is made"
        )
    return config


def _asks_for_a_class(node: Any) -> bool:
    """Whether NeMo, which instantiates what a config's `_target_` names, would do so here."""
    if isinstance(node, dict):
        return "_target_" in node or any(map(_asks_for_a_class, node.values()))
    return isinstance(node, list) and any(map(_asks_for_a_class, node))


def _open(path: Path) -> tarfile.TarFile:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file: give the path of a .nemo file")
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise CheckpointError(f"{path}: not a .nemo file, which is an uncompressed tar: {_REMEDY}") from error


def _member(tar: tarfile.TarFile, path: Path, name: str) -> bytes:
    for candidate in (f"./{name}", name):
        try:
            file = tar.extractfile(candidate)
            if file is not None:
                return file.read()
        except KeyError:
            continue
        except (tarfile.TarError, OSError, EOFError) as error:
            raise CheckpointError(f"{path}: damaged at {name}: {_REMEDY}") from error
    raise CheckpointError(f"{path}: holds no {name}: {_REMEDY}")


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
