"""Output on object stores: all at once or not at all there too; scratch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.publish import Output

Prepare = Callable[..., dict[str, Manifest]]


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def local(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def remote(fs: MemoryFileSystem, folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): fs.cat_file(path) for path in fs.find(folder)}


def test_the_same_bytes_in_memory_as_on_disk(
    prepare: Prepare, shards: Path, tmp_path: Path, memory: MemoryFileSystem
) -> None:
    prepare("memory://bucket/shards", scratch_dir=tmp_path)
    assert remote(memory, "/bucket/shards") == local(shards)
    prepare(f"file://{tmp_path}/by_url", scratch_dir=tmp_path)
    assert local(tmp_path / "by_url") == local(shards)
    assert [path.name for path in tmp_path.iterdir()] == ["by_url"]


def test_inputs_by_url(
    prepare: Prepare, genome: list[Path], shards: Path, tmp_path: Path, memory: MemoryFileSystem
) -> None:
    for path in genome:
        memory.pipe_file(f"/genome/{path.name}", path.read_bytes())
    corpus = Corpus.of_fasta(*(f"memory://genome/{path.name}" for path in genome))
    prepare(tmp_path / "shards", corpus=corpus)
    assert local(tmp_path / "shards") == local(shards)


def test_a_remote_set_is_replaced_only_when_told_and_only_if_it_is_shards(
    prepare: Prepare, tmp_path: Path, memory: MemoryFileSystem
) -> None:
    prepare("memory://bucket/shards", scratch_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"output_dir=memory://bucket/shards exists: pass overwrite=true"):
        prepare("memory://bucket/shards", scratch_dir=tmp_path)
    prepare("memory://bucket/shards", k=4, overwrite=True, validation=(), test=(), scratch_dir=tmp_path)
    found = remote(memory, "/bucket/shards")
    assert {name.split("/")[0] for name in found} == {"train"}
    assert b'"k": 4' in found["train/manifest.json"]
    memory.pipe_file("/bucket/shards/thesis.tex", b"years of work")
    with pytest.raises(ConfigError, match="holds other things than shards"):
        prepare("memory://bucket/shards", overwrite=True, scratch_dir=tmp_path)


def test_an_upload_that_fails_leaves_nothing(
    prepare: Prepare, tmp_path: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file, sent = MemoryFileSystem.put_file, []

    def breaks(self: MemoryFileSystem, source: str, target: str) -> None:
        sent.append(target)
        if len(sent) == 4:
            raise OSError("the bucket is full")
        put_file(self, source, target)

    monkeypatch.setattr(MemoryFileSystem, "put_file", breaks)
    with pytest.raises(
        ShardError, match=r"output_dir=memory://bucket/shards cannot be written \(the bucket is full\)"
    ):
        prepare("memory://bucket/shards", scratch_dir=tmp_path)
    assert len(sent) == 4
    assert remote(memory, "/bucket/shards") == {}
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()

    sent.clear()
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, *names: (sent.append(names[1]), put_file(self, *names))
    )
    prepare("memory://bucket/shards", scratch_dir=tmp_path)
    assert [name.rsplit("/", 1)[1] for name in sent].index("manifest.json") == len(sent) - 3  # the last three


def test_scratch_elsewhere_is_gone_afterwards(prepare: Prepare, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "fast").mkdir()
    prepare(tmp_path / "slow" / "shards", scratch_dir=tmp_path / "fast")
    assert local(tmp_path / "slow" / "shards") == local(shards)
    assert list((tmp_path / "fast").iterdir()) == []


def test_runs_that_share_a_scratch_dir_keep_apart(shards: Path, tmp_path: Path) -> None:
    outputs = [Output(str(tmp_path / name / "shards"), scratch_dir=tmp_path) for name in ("a", "b")]
    with outputs[0].published() as (_, first), outputs[1].published() as (_, second):
        assert first != second
        assert first.parent == second.parent == tmp_path
        (first / "sequences-000000.letters").touch()
    left = first
    left.mkdir()
    (left / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="was not left by prepare_shards"), outputs[0].published():
        pytest.fail("it was overwritten")
    assert (left / "thesis.tex").exists()


def test_a_store_that_is_not_known(prepare: Prepare) -> None:
    with pytest.raises(ConfigError, match="nowhere://bucket"):
        prepare("nowhere://bucket/shards")


def test_a_folder_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "shards"))
    with output.published() as (folder, _):
        (folder / "train").mkdir()
        with pytest.raises(ConfigError, match="another run is writing there"), output.published():
            pytest.fail("it was taken away")
        assert (folder / "train").is_dir()
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["train"]


def test_a_link_stays_a_link(prepare: Prepare, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "big_disk").mkdir()
    (tmp_path / "shards").symlink_to(tmp_path / "big_disk" / "shards")
    for _ in range(2):
        prepare(tmp_path / "shards", overwrite=True)
        assert (tmp_path / "shards").is_symlink()
        assert local(tmp_path / "big_disk" / "shards") == local(shards)
    assert sorted(path.name for path in tmp_path.rglob("*.unfinished")) == []


def test_overwrite_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="overwrite=no: give true or false"):
        Output("x", overwrite="no")
