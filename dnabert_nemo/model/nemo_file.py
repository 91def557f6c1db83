"""The .nemo file: config, vocabulary and one-rank weights in a tar, as NeMo's own restore reads it.

Reading executes nothing from the file and extracts nothing: its members are checked, then read into memory,
the config as plain YAML, the weights as plain tensors of the names and shapes that the config tells.
"""

from __future__ import annotations

import math
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml

from dnabert_nemo.errors import CheckpointError, ConfigError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import checkpoint_folder, plain_tensors
from dnabert_nemo.megatron.tensor_shapes import Shapes
from dnabert_nemo.model.model_config import tensors_of
from dnabert_nemo.model.nemo_members import REMEDY, Member, members

CONFIG, WEIGHTS, VOCABULARY = "model_config.yaml", "model_weights.ckpt", "vocab.txt"
MEMBERS = (CONFIG, VOCABULARY, WEIGHTS)
_MAX_CONFIG = 1 << 20
_BYTES_PER_PARAMETER = 4  # fp32, the widest there is
_BYTES_AROUND = 1 << 16, 1 << 11  # of a file of tensors, and of each tensor in it: names and padding


@dataclass(frozen=True)
class NemoFile:
    """What a .nemo file holds: the model's config, its vocabulary, whole tensors by their one-rank names."""

    config: dict[str, Any]
    vocabulary: Vocabulary
    weights: dict[str, torch.Tensor]

    @property
    def provenance(self) -> dict[str, Any]:
        """What is known of how the weights came to be; empty in files from before it was kept."""
        return dict(self.config.get("provenance", {}))


def write(
    path: Path, config: Mapping[str, Any], vocabulary: Vocabulary, weights: Mapping[str, torch.Tensor]
) -> None:
    """Write a .nemo file aside and rename it; the same contents give the same bytes.

    Raises:
        CheckpointError: it cannot be written there; what was there before is untouched.
    """
    config = {**config, "tokenizer": {**config["tokenizer"], "vocab_file": f"nemo:{VOCABULARY}"}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="unfinished_") as folder:
            made = Path(folder)
            (made / CONFIG).write_text(yaml.dump(config, Dumper=_PlainDumper, sort_keys=True))
            vocabulary.write(made / VOCABULARY)
            with (made / WEIGHTS).open("wb") as file:
                torch.save(dict(sorted(weights.items())), file)
            with tarfile.open(made / "whole", "w:", format=tarfile.PAX_FORMAT) as tar:
                for name in MEMBERS:
                    tar.add(made / name, arcname=f"./{name}", filter=_without_origin)
            (made / "whole").rename(path)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides a full disk
        why = checkpoint_folder.reason(cause or error, path)
        raise CheckpointError(f"{path}: could not be written: {why}: put that right") from error


def read(path: Path) -> NemoFile:
    """Read a .nemo file.

    Raises:
        CheckpointError: it is missing, not a tar, has other members than it should or larger ones than its
            config makes likely, or holds anything but plain data.
    """
    with _open(path) as (file, found):
        config = _config(path, file, found)
        tensors = tensors_of(config)
        vocabulary = Vocabulary(config["tokenizer"]["k"])
        _check_vocabulary(path, file, found[VOCABULARY], vocabulary)
        _check_size(path, found[WEIGHTS], tensors)
        content = found[WEIGHTS].read(file)
    return NemoFile(config, vocabulary, _weights(path, content, tensors))


def read_config(path: Path) -> dict[str, Any]:
    """Read only the model's config from a .nemo file (raises as `read` does)."""
    with _open(path) as (file, found):
        return _config(path, file, found)


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, dict[str, Member]]]:
    """Open once what is then both checked and read, whatever becomes of the path meanwhile."""
    try:
        opened = path.open("rb") if path.is_file() else None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): {REMEDY}") from error
    if opened is None:
        problem = "a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {problem}: give the path of a .nemo file")
    with opened as file:
        found = members(file, path, MEMBERS)
        for name in MEMBERS:
            if name not in found:
                raise CheckpointError(f"{path}: holds no {name}: {REMEDY}")
        yield file, found


def _config(path: Path, file: BinaryIO, found: Mapping[str, Member]) -> dict[str, Any]:
    if found[CONFIG].size > _MAX_CONFIG:
        raise CheckpointError(
            f"{path}: its {CONFIG} has {found[CONFIG].size:,} bytes, more than {_MAX_CONFIG:,}: {REMEDY}"
        )
    try:
        config = yaml.load(found[CONFIG].read(file), _PlainYaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its {CONFIG} is not plain YAML: {REMEDY}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: its {CONFIG} describes no tokenizer: {REMEDY}")
    check_config(config, f"{path}: its {CONFIG}")
    words = config["tokenizer"].get("vocab_file")
    if words not in (None, f"nemo:{VOCABULARY}"):
        raise CheckpointError(f"{path}: its {CONFIG} takes its vocabulary from {words!a:.80}: {REMEDY}")
    return config


def check_config(config: Mapping[str, Any], of: str) -> Shapes:
    """Check a config of another's making, and name the tensors of the model it describes.

    Args:
        of: what the config is, such as "model.nemo: its model_config.yaml", to begin messages with.

    Raises:
        CheckpointError: it asks for anything to be made or looked up, or describes no model of this package.
    """
    try:
        if asked := _asks_for(config):
            raise CheckpointError(f"{of} has {asked}: {REMEDY}")
        return tensors_of(config)
    except RecursionError as error:
        raise CheckpointError(f"{of} has no end: {REMEDY}") from error
    except ConfigError as error:
        raise CheckpointError(f"{of} {error}: {REMEDY}") from error


class _PlainDumper(yaml.SafeDumper):
    """YAML without aliases, which `_PlainYaml` does not read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _PlainYaml(yaml.SafeLoader):
    """YAML without aliases, with which a few lines make a billion nodes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def _asks_for(node: Any, *, at_the_top: bool = True) -> str | None:
    """Say what NeMo or OmegaConf would make or look up at the wish of a config, or what is no plain data."""
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                return f"a key that is no text ({key!a:.80})"
        for key in ("_target_", "cls") if at_the_top else ("_target_", "cls", "target"):
            if key in node:
                return f"a key {key} ({node[key]!a:.80}), and no class of a file's choice is made"
        return next(filter(None, (_asks_for(each, at_the_top=False) for each in node.values())), None)
    if isinstance(node, list):
        return next(filter(None, (_asks_for(each, at_the_top=False) for each in node)), None)
    if isinstance(node, str) and "${" in node:
        return f"an interpolation ({node!a:.80}), and nothing is looked up for a file"
    if not isinstance(node, str | int | float | bool | None):
        return f"a {type(node).__name__} ({node!a:.80}), and all is text, numbers, lists and mappings"
    return None


def _check_vocabulary(path: Path, file: BinaryIO, member: Member, vocabulary: Vocabulary) -> None:
    right = "\n".join(vocabulary.tokens).encode()
    if member.size > len(right) + 1 or member.read(file).removesuffix(b"\n") != right:
        raise CheckpointError(
            f"{path}: its {VOCABULARY} is damaged, or of another k than tokenizer.k={vocabulary.k} in its "
            f"{CONFIG}: {REMEDY}"
        )


def _check_size(path: Path, member: Member, tensors: Shapes) -> None:
    """Hold the size of the weights against the config, before memory is taken for them."""
    count = sum(map(math.prod, tensors.values()))
    around_all, around_each = _BYTES_AROUND
    most = _BYTES_PER_PARAMETER * count + around_all + around_each * len(tensors)
    if not count <= member.size <= most:
        raise CheckpointError(
            f"{path}: its {WEIGHTS} has {member.size:,} bytes, and {count:,} parameters, which its {CONFIG} "
            f"describes, take {count:,} to {most:,}: damaged or not ours: {REMEDY}"
        )


def _weights(path: Path, content: bytes, tensors: Shapes) -> dict[str, torch.Tensor]:
    try:
        weights = plain_tensors.load(content)
    except ValueError as error:
        raise CheckpointError(f"{path}: its {WEIGHTS} {error}: {REMEDY}") from error
    for name in sorted(tensors.keys() ^ weights.keys(), key=str):
        has, of = ("lacks", "describes it") if name in tensors else ("has", "does not describe it")
        raise CheckpointError(f"{path}: its {WEIGHTS} {has} {name!a:.80} and its {CONFIG} {of}: {REMEDY}")
    for name, size in tensors.items():
        if tuple(weights[name].shape) != size or not weights[name].is_floating_point():
            found = f"{weights[name].dtype} {list(weights[name].shape)}"
            raise CheckpointError(
                f"{path}: {name} is {found} where its {CONFIG} describes numbers {list(size)}: {REMEDY}"
            )
    return weights


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
