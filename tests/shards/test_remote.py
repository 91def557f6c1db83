"""A set that is somewhere else: what is read of it, what its bytes are held against, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import fsspec
import pytest

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.remote import RemoteSet, is_remote


@pytest.fixture
def train(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards / "train", tmp_path / "train"))


def places(folder: Path) -> list[str]:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/remote/train", recursive=True)
    return [str(folder), f"file://{folder}/", "memory://remote/train", f"pipe:cat {folder}/{{name}}"]


def test_it_is_the_same_wherever_it_is(train: Path) -> None:
    manifest = Manifest.read(train)
    for where in places(train):
        remote = RemoteSet.open(where, k=3)
        assert remote.manifest == manifest
        for shard, described in enumerate(manifest.shards):
            assert described.name in remote.url(shard)
            with remote.reading(shard) as stream:
                first = stream.read(1000)
                assert first + stream.read() == (train / described.name).read_bytes()
                stream.check()
            with remote.reading(shard) as stream:
                stream.check()  # reads what nobody has read


def test_bytes_that_are_not_those_of_the_manifest(train: Path) -> None:
    path = train / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    remote = RemoteSet.open(str(train))
    with (
        remote.reading(1) as stream,
        pytest.raises(ValueError, match="not those manifest"),
    ):
        stream.check()
    path.write_bytes(content[:-10])
    with remote.reading(1) as stream, pytest.raises(ValueError, match=r"\d+ bytes, manifest.json says \d+"):
        stream.check()


@pytest.mark.parametrize(
    "where", ["memory://absent/train", "file:///absent/train", "absent", "pipe:cat absent/{name}"]
)
def test_no_set(where: str) -> None:
    with pytest.raises(
        ShardError, match=r"manifest\.json.* unfinished or not a shard set: give one split"
    ) as error:
        RemoteSet.open(where)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("nowhere://bucket/train", "nowhere"),
        ("pipe:cat manifest.json", r"say where the command takes a file's name: pipe:aws s3 cp .*\{name\}"),
    ],
)
def test_what_cannot_be_a_place(where: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RemoteSet.open(where)


def edit(folder: Path, **changed: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_sets_of_another_kind(train: Path) -> None:
    where = f"file://{train}"
    with pytest.raises(ShardError, match=r"k=3, the model has k=6: pass model\.tokenizer\.k=3"):
        RemoteSet.open(where, k=6)
    edit(train, vocabulary_sha256="0" * 64)
    with pytest.raises(ShardError, match="another k-mer vocabulary"):
        RemoteSet.open(where)
    edit(train, format_version=1)
    with pytest.raises(ShardError, match="shard format 1, this package reads 2"):
        RemoteSet.open(where)


@pytest.mark.parametrize("name", ["../shard-000000.tar", "a/b.tar", "x; rm -r *", "-x", "$(id)", ""])
def test_a_manifest_cannot_name_what_is_no_shard(name: str, train: Path) -> None:
    content = json.loads((train / "manifest.json").read_text())
    content["shards"][0]["name"] = name
    edit(train, shards=content["shards"])
    with pytest.raises(ShardError, match="is no name of a shard"):
        RemoteSet.open(f"pipe:cat {train}/{{name}}")


def test_a_command_that_is_left_is_ended(train: Path) -> None:
    program = "import sys, time; print('x' * 99, flush=True); time.sleep(60)"
    remote = RemoteSet(f'pipe:exec {sys.executable} -c "{program}" {{name}}', Manifest.read(train))
    with pytest.raises(RuntimeError, match="enough"), remote.reading(0) as stream:
        assert stream.read(9) == b"x" * 9
        raise RuntimeError("enough")


def test_what_is_remote() -> None:
    assert all(map(is_remote, ("s3://bucket/train", "file:///shards/train", "pipe:cat shards/{name}")))
    assert not any(map(is_remote, ("shards/train", "/shards/train", "C:/shards", "pipes/train")))
