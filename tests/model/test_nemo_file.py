"""The .nemo file: what is in it, byte for byte, and that reading one of another's making runs nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.model import nemo_file
from dnabert_nemo.model.nemo_file import CONFIG, VOCABULARY, WEIGHTS


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_an_uncompressed_tar_of_config_vocabulary_and_weights(nemo: Path, new_model) -> None:
    content = members(nemo)
    assert list(content) == ["./model_config.yaml", "./vocab.txt", "./model_weights.ckpt"]
    config = yaml.safe_load(content["./model_config.yaml"])
    assert config["target"] == "dnabert_nemo.model.pretraining.DnabertModel"
    assert config["tokenizer"] == {"k": 3, "vocab_file": "nemo:vocab.txt"}
    assert not {"data", "optim"} & config.keys()
    assert content["./vocab.txt"].decode().splitlines() == Vocabulary(3).tokens
    state = torch.load(io.BytesIO(content["./model_weights.ckpt"]), weights_only=True)
    assert state.keys() == {name for name, _ in new_model().named_parameters()}
    assert b"/somewhere" not in nemo.read_bytes()


def test_the_same_weights_are_the_same_bytes(nemo: Path, new_model, tmp_path: Path) -> None:
    usual = os.umask(0o077)  # what a machine's habits could put into a tar
    try:
        new_model().save_to(str(tmp_path / "again.nemo"))
    finally:
        os.umask(usual)
    assert (tmp_path / "again.nemo").read_bytes() == nemo.read_bytes()
    new_model(seed=2).save_to(str(tmp_path / "other.nemo"))
    assert (tmp_path / "other.nemo").read_bytes() != nemo.read_bytes()


def test_writing_leaves_one_file_and_replaces_it(nemo: Path, new_model) -> None:
    new_model(seed=2).save_to(str(nemo))
    assert [path.name for path in nemo.parent.iterdir()] == ["tiny.nemo"]
    assert nemo_file.read(nemo).config["seed"] == 2


def test_what_was_written_is_read(nemo: Path, new_model) -> None:
    file = nemo_file.read(nemo)
    assert file.vocabulary == Vocabulary(3)
    assert file.config == nemo_file.read_config(nemo)
    for name, parameter in new_model().named_parameters():
        assert torch.equal(file.weights[name], parameter)


@pytest.fixture
def remade(nemo: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make the tar again with some members changed, or left out where they are None."""

    def remake(changed: dict[str, bytes | None]) -> Path:
        path = tmp_path / "remade.nemo"
        with tarfile.open(path, "w:") as tar:
            for name, content in (
                members(nemo) | {f"./{key}": value for key, value in changed.items()}
            ).items():
                if content is not None:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return path

    return remake


def refused(path: Path, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as raised:
        nemo_file.read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_what_is_not_a_nemo_file_is_refused(nemo: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent.nemo", "no such file")
    refused(tmp_path, "no such file")
    for content in (b"", b"no tar at all, but some text" * 100, gzip.compress(nemo.read_bytes())):
        (tmp_path / "other.nemo").write_bytes(content)
        refused(tmp_path / "other.nemo", "not a .nemo file, which is an uncompressed tar")


def test_a_truncated_file_is_refused_wherever_it_ends(nemo: Path, tmp_path: Path) -> None:
    content = nemo.read_bytes()
    path = tmp_path / "cut.nemo"
    for percent in range(1, 90, 4):
        path.write_bytes(content[: len(content) * percent // 100])
        refused(path, "")
    for num_bytes in (100, 511, 512, 700):
        path.write_bytes(content[:num_bytes])
        refused(path, "")


@pytest.mark.parametrize("name", [CONFIG, VOCABULARY, WEIGHTS])
def test_a_missing_member_is_named(remade, name: str) -> None:
    refused(remade({name: None}), f"holds no {name}")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({CONFIG: b"tokenizer: [unclosed"}, "not plain YAML"),
        ({CONFIG: b"\xff\xfe\x00"}, "not plain YAML"),
        ({CONFIG: b"- a\n- list\n"}, "describes no tokenizer"),
        ({CONFIG: b"tokenizer: bpe\n"}, "describes no tokenizer"),
        ({CONFIG: b"tokenizer: {}\n"}, "has no tokenizer.k"),
        ({CONFIG: b"tokenizer: {k: 4}\n"}, "vocab.txt is of another k"),
        ({VOCABULARY: b"[PAD]\n[UNK]\n"}, "vocab.txt is damaged"),
        ({WEIGHTS: b"not a checkpoint"}, "weights are damaged"),
        ({WEIGHTS: b""}, "weights are damaged"),
    ],
)
def test_damaged_members_are_refused(remade, changed: dict[str, bytes], says: str) -> None:
    refused(remade(changed), says)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.evidence),)


def saved(weights: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def test_a_class_among_the_weights_is_not_run(remade, tmp_path: Path) -> None:
    path = remade({WEIGHTS: saved({"bert.x": Malicious(tmp_path / "evidence")})})
    refused(path, "not plain tensors")
    assert not (tmp_path / "evidence").exists()


def test_weights_are_tensors_by_name(remade) -> None:
    refused(remade({WEIGHTS: saved([torch.zeros(2)])}), "holds other things than tensors")
    refused(remade({WEIGHTS: saved({"bert.x": "y"})}), "holds other things than tensors")


def test_a_config_makes_nothing(nemo: Path, remade, tmp_path: Path) -> None:
    tag = f"tokenizer: {{k: 3}}\nx: !!python/object/apply:os.mkdir ['{tmp_path / 'evidence'}']\n"
    refused(remade({CONFIG: tag.encode()}), "not plain YAML")
    config = nemo_file.read_config(nemo)
    for asks in ({"_target_": "os.mkdir"}, {"deep": [{"inside": {"_target_": "torch.nn.Linear"}}]}):
        refused(remade({CONFIG: yaml.safe_dump(config | asks).encode()}), "_target_")
    assert not (tmp_path / "evidence").exists()
