"""`python -m dnabert_nemo shards ...` as a user calls it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dnabert_nemo", "shards", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def lines_of(*arguments: object) -> list[str]:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_inspect(shards: Path) -> None:
    assert lines_of("inspect", shards / "train")[0].endswith("train, k=3, shard format 2")
    content = json.loads("\n".join(lines_of("inspect", "--json", shards / "train")))
    assert content["split"] == "train"


def test_verify_is_one_line_a_shard(shards: Path) -> None:
    lines = lines_of("verify", shards / "train")
    assert [line.split(",")[0] for line in lines] == [f"shard-{n:06d}.tar: ok" for n in range(len(lines))]


def test_head(shards: Path) -> None:
    lines = lines_of("head", shards / "train", "--records", 1, "--bases", 12)
    assert lines[0].startswith(">")
    assert len(lines[1]) == 12


def test_merge(shards: Path, soft_shards: Path, tmp_path: Path) -> None:
    arguments = (tmp_path / "m", shards, soft_shards, "--prefixes", "a,b", "--shares", "1,2")
    [last] = [line for line in lines_of("merge", *arguments) if line.startswith("train")]
    assert "2 sets" in last
    assert len(lines_of("verify", tmp_path / "m" / "train")) > 1


def test_head_may_be_cut_short_by_a_pipe(shards: Path) -> None:
    command = f"{sys.executable} -m dnabert_nemo shards head {shards / 'train'} --records 99 | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith(">")


@pytest.fixture
def damaged(shards: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(shards / "train", tmp_path / "train"))
    for name in ("shard-000000.tar", "shard-000001.tar"):
        content = bytearray((folder / name).read_bytes())
        content[4000] ^= 1
        (folder / name).write_bytes(content)
    return folder


def test_damage_is_one_line_and_exit_code_2(damaged: Path, tmp_path: Path) -> None:
    for arguments in (
        ("inspect", damaged),
        ("verify", damaged),
        ("head", damaged),
        ("merge", tmp_path / "m", damaged),
        ("inspect", tmp_path / "absent"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert line.startswith("error: ")
        if arguments[1] is damaged:
            assert "shard-000000.tar, record 00000000: kmers.npy" in line
    assert [line.split(",")[0] for line in run("verify", damaged).stdout.splitlines()[:3]] == [
        "shard-000000.tar: DAMAGED",
        "shard-000001.tar: DAMAGED",
        "shard-000002.tar: ok",
    ]


def test_a_url_is_told_to_be_copied_first(tmp_path: Path) -> None:
    url = "s3://bucket/shards/train"
    for arguments in (("inspect", url), ("verify", url), ("head", url), ("merge", tmp_path / "m", url)):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {url}: ")
        assert "copy it to one first" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("inspect",), ("head", ".", "--records", "-1"), ("look", ".")])
def test_a_wrong_call_says_how_it_is_called(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m dnabert_nemo shards" in done.stderr


def test_the_commands_need_no_torch() -> None:
    modules = ", ".join(
        f"dnabert_nemo.{name}" for name in ("__main__", "shards.merge", "shards.inspect_report")
    )
    program = f"import sys, {modules}; print(*{{'torch', 'nemo'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
