"""Output folders appear whole or not at all, and nothing of somebody else's is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256

FILES = ("a.txt", "b.txt")


def write(output_dir: Path, text: str, *, overwrite: bool = False) -> None:
    with publish(output_dir, FILES, overwrite=overwrite) as folder:
        (folder / "a.txt").write_text(text)


def test_the_folder_is_there_only_after_the_block(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "out"
    with publish(final, FILES, overwrite=False) as folder:
        assert folder != final
        (folder / "a.txt").write_text("x")
        assert not final.exists()
    assert [path.name for path in final.iterdir()] == ["a.txt"]
    assert [path.name for path in final.parent.iterdir()] == ["out"]


def test_a_failed_block_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt), publish(tmp_path / "out", FILES, overwrite=True) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    for name in ("out.unfinished", "out.replaced.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.txt").write_text("half")
    write(tmp_path / "out", "old")
    write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(
        ConfigError, match=r"out exists: pass overwrite=true to replace it, or another output_dir"
    ):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("place", ["out", "out.unfinished"])
def test_a_folder_with_other_files_is_never_replaced(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds 'thesis.txt', which this command did not write"):
        write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / place / "thesis.txt").read_text() == "years of work"


def test_a_file_or_an_unfinished_name_as_output_dir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file"):
        write(tmp_path / "file", "new", overwrite=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "file" / "out", "new")
    with pytest.raises(ConfigError, match="marks unfinished work"):
        write(tmp_path / "out.unfinished", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
