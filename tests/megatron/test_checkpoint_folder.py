"""Checkpoints as folders: which is the newest, what is wrong with one, what a kill at any instant leaves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint, checkpoint_folder
from dnabert_nemo.megatron.checkpoint_folder import HashedFile


def filled(folder: Path, content: bytes = b"content") -> Path:
    """Fill a folder as a checkpoint's."""
    folder.mkdir(exist_ok=True)
    with HashedFile(folder / "part") as file:
        file.write(content)
    checkpoint_folder.write_manifest(folder, [file.written])
    return folder


def test_the_newest_is_found_by_step_and_then_by_validation(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "absent") is None
    for name in ("step=9.ckpt", "val_loss=4.1754-step=10.ckpt", "step=12.ckpt", "step=10.ckpt"):
        filled(tmp_path / name)
    for name in (
        "step=13.ckpt.unfinished",
        "step=14.ckpt.damaged",
        "mine.ckpt",
        "mine-step=20.ckpt",
        "step=x.ckpt",
    ):
        filled(tmp_path / name)
    names = [each.path.name for each in checkpoint_folder.finished(tmp_path)]
    assert names == ["step=12.ckpt", "val_loss=4.1754-step=10.ckpt", "step=10.ckpt", "step=9.ckpt"]
    assert checkpoint.newest(tmp_path) == tmp_path / "step=12.ckpt"
    assert [each.score("val_loss") for each in checkpoint_folder.finished(tmp_path)] == [
        None,
        4.1754,
        None,
        None,
    ]


def test_what_is_removed_counts_no_more_from_the_first_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "step=9.ckpt")
    monkeypatch.setattr(checkpoint_folder.shutil, "rmtree", lambda *_, **__: None)  # as if killed there
    checkpoint.remove(path)
    assert checkpoint.newest(tmp_path) is None
    monkeypatch.undo()
    checkpoint_folder.clear_leftovers(tmp_path)
    assert not any(tmp_path.iterdir())
    checkpoint.remove(path)  # once more does no harm


def killing(call: Callable[..., None], original: Callable[..., None]) -> Callable[..., None]:
    return lambda *args, **kwargs: call(original, *args, **kwargs)


def test_replacing_leaves_one_of_the_two_at_every_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed_at(number: int) -> Callable[..., None]:
        calls = iter(range(100))

        def call(original: Callable[..., None], *args: object, **kwargs: object) -> None:
            if next(calls) == number:
                raise Killed
            original(*args, **kwargs)

        return call

    for instant in range(6):
        folder = tmp_path / str(instant)
        folder.mkdir()
        path = filled(folder / "step=1.ckpt", b"old")
        aside = filled(checkpoint_folder.make_aside(path), b"new")
        call = killed_at(instant)
        with monkeypatch.context() as patched:
            for owner, name in ((Path, "rename"), (os, "fsync"), (checkpoint_folder.shutil, "rmtree")):
                original = getattr(owner, name)
                patched.setattr(owner, name, killing(call, original))
            with contextlib.suppress(Killed):
                checkpoint_folder.put_in_place(aside, path)
        assert checkpoint.newest(folder) is not None, instant
        found, damaged = checkpoint_folder.newest_whole(folder)
        assert found == path
        assert not damaged
        assert (path / "part").read_bytes() in (b"old", b"new")
        assert list(folder.iterdir()) == [path], "and nothing is left over"


def test_the_one_before_a_damaged_one_is_used_and_told_of_once(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        filled(tmp_path / f"step={step}.ckpt")
    (tmp_path / "step=3.ckpt" / "part").write_bytes(b"Content")
    (tmp_path / "step=2.ckpt" / "manifest.json").unlink()
    path, damaged = checkpoint_folder.newest_whole(tmp_path)
    assert path == tmp_path / "step=1.ckpt"
    assert damaged == [
        (tmp_path / "step=3.ckpt.damaged", "part does not match its checksum"),
        (tmp_path / "step=2.ckpt.damaged", "manifest.json is missing"),
    ]
    assert checkpoint_folder.newest_whole(tmp_path) == (path, [])


def test_if_none_is_whole_all_are_named_and_left_alone(tmp_path: Path) -> None:
    for step in (1, 2):
        filled(tmp_path / f"step={step}.ckpt")
        (tmp_path / f"step={step}.ckpt" / "part").unlink()
    with pytest.raises(
        CheckpointError, match=r"step=2\.ckpt: part is missing; step=1\.ckpt: part is missing"
    ):
        checkpoint_folder.newest_whole(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]


@pytest.mark.parametrize("name", ["../part", "/etc/hostname", "..", "a/b"])
def test_a_manifest_that_names_files_elsewhere_is_damage(tmp_path: Path, name: str) -> None:
    path = filled(tmp_path / "step=1.ckpt")
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"part"', f'"{name}"'))
    assert checkpoint_folder.damage(path) == "manifest.json cannot be read"
    for content in (
        "",
        "[]",
        "{}",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": {}}',
        '{"format": 1, "files": [1]}',
    ):
        manifest.write_text(content)
        assert checkpoint_folder.damage(path) == "manifest.json cannot be read"
