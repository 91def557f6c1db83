"""The .nemo file: what is in it, byte for byte, and that reading one of another's making runs nothing."""

from __future__ import annotations

import gzip
import io
import os
import resource
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import torch
import yaml
from malicious_files import Malicious, members, saved
from nemo.core.connectors.save_restore_connector import SaveRestoreConnector

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.model import nemo_file
from dnabert_nemo.model.nemo_file import CONFIG, VOCABULARY, WEIGHTS
from dnabert_nemo.model.nemo_members import Member
from dnabert_nemo.model.nemo_members import members as find_members


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
    refused(tmp_path, "a folder: give the path of a .nemo file")
    refused(tmp_path / ("x" * 300), "cannot be read")
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
        ({CONFIG: b"tokenizer: {k: 4}\n"}, "has no num_layers"),
        ({VOCABULARY: b"[PAD]\n[UNK]\n"}, "vocab.txt is damaged, or of another k"),
        ({WEIGHTS: b"not a checkpoint" * 3000}, "model_weights.ckpt is damaged"),
        ({WEIGHTS: b"PK not an archive" * 3000}, "model_weights.ckpt is damaged"),
        ({WEIGHTS: b""}, "model_weights.ckpt has 0 bytes"),
    ],
)
def test_damaged_members_are_refused(remade, changed: dict[str, bytes], says: str) -> None:
    refused(remade(changed), says)


def test_a_class_among_the_weights_is_not_run(remade, tmp_path: Path) -> None:
    many = torch.zeros(30_000)
    path = remade({WEIGHTS: saved({"bert.x": Malicious(tmp_path / "evidence"), "bert.y": many})})
    refused(path, "not plain tensors .it asks for posix.mkdir")
    assert not (tmp_path / "evidence").exists()


def test_weights_are_tensors_by_name(remade) -> None:
    many = torch.zeros(30_000)
    refused(remade({WEIGHTS: saved([many])}), "holds other things than tensors")
    refused(remade({WEIGHTS: saved({"bert.x": "y", "bert.y": many})}), "holds other things than tensors")
    refused(remade({WEIGHTS: saved({"bert.x": many})}), r"lacks 'bert\.embedding\.position")


def test_weights_are_those_that_the_config_describes(nemo: Path, remade) -> None:
    weights = nemo_file.read(nemo).weights
    name = "bert.lm_head.dense.weight"
    refused(remade({WEIGHTS: saved(weights | {"bert.more": torch.zeros(2)})}), "has 'bert.more' and its")
    refused(remade({WEIGHTS: saved(weights | {name: torch.zeros(2)})}), rf"{name} is torch.float32 \[2\]")
    refused(remade({WEIGHTS: saved(weights | {name: weights[name].int()})}), rf"{name} is torch.int32")
    wide = torch.zeros(1).expand(10**9, 10**3)  # a few bytes that say they are a terabyte
    refused(remade({WEIGHTS: saved(weights | {name: wide})}), r"unfolds [\d,]+ bytes into 1,000,000,0")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_layers": 10**9}, "num_layers=1000000000, which is no whole number in 1..4096"),
        ({"num_layers": 2000}, "describes, take 17,0"),
        ({"num_layers": "2"}, "num_layers='2'"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"num_attention_heads": 5}, "num_attention_heads=5, which does not divide hidden_size=32"),
        ({"hidden_dropout": "a"}, "hidden_dropout='a'"),
        ({"hidden_dropout": 3}, r"hidden_dropout=3, which is no number in 0\.\.0\.99"),
        ({"seed": "abc"}, "seed='abc', which is no whole number"),
        ({"provenance": "mine"}, "provenance='mine', which is no mapping"),
        ({"made": date(2020, 1, 1)}, "has a date .*, and all is text, numbers, lists and mappings"),
        ({"made": [{b"x"}]}, "has a set "),
        ({1: "one"}, "has a key that is no text"),
        ({"layernorm_epsilon": float("nan")}, "layernorm_epsilon=nan"),
        ({"tokenizer": {"k": 4}}, "of another k than tokenizer.k=4"),
        ({"tokenizer": {"k": 8}}, "tokenizer.k=8"),
        ({"transformer_block_type": "sideways"}, "transformer_block_type=sideways is not known"),
        ({"target": "dnabert_nemo.model.classification.DnabertClassifier"}, "has no list of labels"),
        (
            {"target": "dnabert_nemo.model.classification.DnabertClassifier", "labels": ["a"]},
            "has no freeze_encoder",
        ),
    ],
)
def test_a_config_that_describes_no_model_is_refused(nemo: Path, remade, changed: dict, says: str) -> None:
    config = nemo_file.read_config(nemo) | changed
    refused(remade({CONFIG: yaml.safe_dump(config).encode()}), says)


def test_a_few_lines_of_config_do_not_become_many(remade) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    refused(remade({CONFIG: "\n".join(lines).encode()}), "not plain YAML")


def test_a_config_without_end_is_refused() -> None:
    config: dict = {"a": []}  # as only the pickle of a checkpoint makes one
    config["a"].append(config)
    with pytest.raises(CheckpointError, match="its config has no end"):
        nemo_file.check_config(config, "its config")


def test_where_nothing_can_be_written_nothing_is_left(nemo: Path, new_model, tmp_path: Path) -> None:
    file, before = nemo_file.read(nemo), nemo.read_bytes()
    (tmp_path / "file").touch()
    for path, says in ((tmp_path / "file" / "x.nemo", "file exists"), (nemo, "the disk is full")):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # EFBIG, as for a quota
        try:
            with pytest.raises(CheckpointError, match=f"{path}: could not be written: {says}"):
                nemo_file.write(path, file.config, file.vocabulary, file.weights)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in nemo.parent.iterdir()] == ["tiny.nemo"]
    assert nemo.read_bytes() == before


def test_a_file_from_before_provenance_was_kept_is_read(nemo: Path, remade) -> None:
    config = nemo_file.read_config(nemo)
    assert config.pop("provenance")["versions"].keys() == {
        "dnabert_nemo",
        "torch",
        "megatron-core",
        "nemo-toolkit",
    }
    assert nemo_file.read(remade({CONFIG: yaml.safe_dump(config).encode()})).provenance == {}


def test_a_config_makes_nothing(nemo: Path, remade, tmp_path: Path) -> None:
    tag = f"tokenizer: {{k: 3}}\nx: !!python/object/apply:os.mkdir ['{tmp_path / 'evidence'}']\n"
    refused(remade({CONFIG: tag.encode()}), "not plain YAML")
    config = nemo_file.read_config(nemo)
    for asks in ({"_target_": "os.mkdir"}, {"deep": [{"inside": {"_target_": "torch.nn.Linear"}}]}):
        refused(remade({CONFIG: yaml.safe_dump(config | asks).encode()}), "_target_")
    assert not (tmp_path / "evidence").exists()


def test_a_tar_as_nemo_makes_it_is_read(nemo: Path, tmp_path: Path) -> None:
    """With the folder itself as a member, and times in extended headers."""
    (tmp_path / "folder").mkdir()
    for name, content in members(nemo).items():
        (tmp_path / "folder" / name).write_bytes(content)
    SaveRestoreConnector._make_nemo_file_from_folder(str(tmp_path / "theirs.nemo"), str(tmp_path / "folder"))
    assert nemo_file.read(tmp_path / "theirs.nemo").config == nemo_file.read_config(nemo)


def test_a_member_of_more_than_the_old_format_counts_is_found(tmp_path: Path) -> None:
    info = tarfile.TarInfo(f"./{WEIGHTS}")
    info.size = 10 * 10**9  # more than 8 GiB, the most that twelve octal digits say
    with (tmp_path / "large.nemo").open("w+b") as file:
        header = info.tobuf(tarfile.PAX_FORMAT)
        file.write(header)
        file.truncate(len(header) + info.size)
        found = find_members(file, tmp_path / "large.nemo", nemo_file.MEMBERS)
    assert found == {WEIGHTS: Member(len(header), info.size)}
