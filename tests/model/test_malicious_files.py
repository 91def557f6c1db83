"""Files that try to do harm: each is refused by every door of ours; nothing is run, written or unfolded."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
import torch
from malicious_files import ATTACKS, TEN_GB, Attack
from nemo.core import ModelPT

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint
from dnabert_nemo.megatron.engine import data_parallel
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings
from dnabert_nemo.model import DnabertModel, nemo_file, restore
from dnabert_nemo.model.export import read_model


@pytest.fixture(scope="module")
def kept() -> dict[str, Path]:
    """The good files, once made."""
    return {}


@pytest.fixture
def good(kept: dict[str, Path], new_model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good .nemo file and a good checkpoint, from which the bad ones are made."""
    if not kept:
        folder, model = tmp_path_factory.mktemp("good"), new_model()
        model.save_to(str(folder / "good.nemo"))
        optimizer = MegatronAdamW(data_parallel(model.bert, distributed_optimizer=False), OptimizerSettings())
        checkpoint.save(folder / "good.ckpt", model.bert, optimizer, {"model_config": model.file_config()})
        kept |= {kind: folder / f"good.{kind}" for kind in ("nemo", "ckpt")}
    return kept


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files and to stand in, where anything extracted would show."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_is_refused_and_nothing_happens(
    attack: Attack, good: dict[str, Path], temporary: Path, tmp_path: Path
) -> None:
    kind = "ckpt" if attack.of_checkpoint else "nemo"
    bad, evidence = tmp_path / f"bad.{kind}", tmp_path / "evidence"
    attack.make(good[kind], bad, evidence)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    doors = [read_model] if attack.of_checkpoint else [read_model, lambda path: restore(path, DnabertModel)]
    for door in doors:
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as raised:
                door(bad)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        message = str(raised.value)
        assert attack.says in message
        assert message.startswith(f"{bad}: ")
        assert "\n" not in message
        assert peak < 50e6
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not evidence.exists()
    assert not list(temporary.iterdir())


def test_the_attacks_are_what_they_seem(good: dict[str, Path], tmp_path: Path) -> None:
    """Where nothing is checked, pickles run; so what is refused above would have done harm."""
    evidence = tmp_path / "evidence"
    by_name = {attack.name: attack for attack in ATTACKS}
    by_name["a pickle as progress of a checkpoint"].make(good["ckpt"], tmp_path / "bad.ckpt", evidence)
    torch.load(tmp_path / "bad.ckpt" / "common.pt", weights_only=False)
    assert evidence.is_dir()
    by_name["10 GB on the disk"].make(good["nemo"], tmp_path / "bad.nemo", evidence)
    assert (tmp_path / "bad.nemo").stat().st_size > TEN_GB
    assert (tmp_path / "bad.nemo").stat().st_blocks * 512 < 1e6


def test_the_file_that_was_checked_is_the_one_that_is_used(
    good: dict[str, Path], tmp_path: Path, logits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file under the same name, after the check, changes nothing: nothing opens the path again."""
    path = tmp_path / "model.nemo"
    path.write_bytes(good["nemo"].read_bytes())
    expected = logits(restore(path, DnabertModel))
    read = nemo_file.read

    def read_then_swap(path: Path) -> nemo_file.NemoFile:
        file = read(path)
        os.truncate(path, 0)
        return file

    monkeypatch.setattr(nemo_file, "read", read_then_swap)
    assert torch.equal(logits(restore(path, DnabertModel)), expected)
    assert path.stat().st_size == 0


def test_nemos_own_restore_opens_the_good_one(good: dict[str, Path], logits) -> None:
    theirs = logits(ModelPT.restore_from(str(good["nemo"]), map_location="cpu"))
    assert torch.equal(theirs, logits(restore(good["nemo"], DnabertModel)))
