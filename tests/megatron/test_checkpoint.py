"""Checkpoints to resume from: all of a model comes back, and nothing in a file of another's making is run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core.transformer.module import MegatronModule

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint, topology
from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings

PROGRESS = {"global_step": 2, "consumed_samples": 17, "loops": {"fit": [1, 2.5, None, "three"]}}
NAMES = ("fused_adam", "distributed_fused_adam")


class Run:
    """A small model in training, with dropout."""

    def __init__(self, bert: MegatronModule, name: str) -> None:
        self.bert = bert
        self.ddp = data_parallel(bert, distributed_optimizer=name == "distributed_fused_adam")
        self.optimizer = MegatronAdamW(self.ddp, OptimizerSettings(name=name, lr=1e-2))

    def step(self, batch: Any) -> float:
        self.optimizer.zero_grad()
        sums = run_step(self.ddp, [batch], MaskedLMLoss(3), hidden_tokens=64, num_sums=5, training=True)
        self.optimizer.step()
        return float(sums[0])


@pytest.fixture
def new_run(new_bert) -> Callable[..., Run]:
    def make(name: str, **changed: Any) -> Run:
        topology.seed_ranks(1)
        return Run(new_bert(**({"hidden_dropout": 0.2, "attention_dropout": 0.2} | changed)), name)

    return make


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where each optimizer's checkpoint is, once `written` has written it, and how its run went on."""
    return {"folder": tmp_path_factory.mktemp("saved")}


@pytest.fixture
def written(saved, new_run, micro_batch) -> Callable[[str], tuple[Path, list[float], list[torch.Tensor]]]:
    """Return a run's checkpoint after two steps, and the losses of its next two and its last weights."""

    def write(name: str) -> Any:
        if name not in saved:
            run = new_run(name)
            for seed in range(2):
                run.step(micro_batch((64,), seed))
            path = saved["folder"] / f"{name}-step=2.ckpt"
            checkpoint.save(path, run.bert, run.optimizer, PROGRESS)
            losses = [run.step(micro_batch((64,), seed)) for seed in (2, 3)]
            saved[name] = path, losses, [parameter.detach().clone() for parameter in run.bert.parameters()]
        return saved[name]

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_to_the_bit(written, new_run, micro_batch, name: str) -> None:
    path, losses, last = written(name)
    run = new_run(name, seed=9)
    torch.manual_seed(123)
    assert checkpoint.load(path, run.bert, run.optimizer) == PROGRESS
    assert [run.step(micro_batch((64,), seed)) for seed in (2, 3)] == losses
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(run.bert.parameters(), last, strict=True))


def test_saving_again_replaces_and_leaves_nothing_aside(new_run, micro_batch, tmp_path: Path) -> None:
    path = tmp_path / "step=1.ckpt"
    (tmp_path / "step=1.ckpt.unfinished").mkdir()
    (tmp_path / "step=1.ckpt.unfinished" / "left").touch()
    run = new_run("fused_adam")
    run.step(micro_batch((64,)))
    for number in (1, 2):
        checkpoint.save(path, run.bert, run.optimizer, {"number": number})
    assert [each.name for each in tmp_path.iterdir()] == ["step=1.ckpt"]
    assert not (path / "left").exists()
    assert checkpoint.load(path, run.bert, run.optimizer) == {"number": 2}


def test_the_newest_finished_one_is_found(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "absent") is None
    for name in ("step=9.ckpt", "val_loss=4.1754-step=10.ckpt", "step=12.ckpt", "step=11.ckpt.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").touch()
    assert checkpoint.newest(tmp_path) == tmp_path / "step=12.ckpt"
    (tmp_path / "step=12.ckpt" / "metadata.json").unlink()
    assert checkpoint.newest(tmp_path) == tmp_path / "val_loss=4.1754-step=10.ckpt"
    for name in ("step=10.ckpt", "mine.ckpt", "step=last.ckpt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").touch()
    assert checkpoint.newest(tmp_path) == tmp_path / "val_loss=4.1754-step=10.ckpt"  # the later of the two
    checkpoint.remove(tmp_path / "step=9.ckpt")
    assert not (tmp_path / "step=9.ckpt").exists()


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.evidence),)


@pytest.fixture
def copy(written, tmp_path) -> Path:
    """A checkpoint of its own to damage."""
    shutil.copytree(written("fused_adam")[0], tmp_path / "copy.ckpt")
    return tmp_path / "copy.ckpt"


def refused(path: Path, new_run, says: str, **changed: Any) -> None:
    run = new_run("fused_adam", **changed)
    with pytest.raises(CheckpointError, match=says) as raised:
        checkpoint.load(path, run.bert, run.optimizer)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message


def test_what_is_not_a_checkpoint_is_refused(new_run, copy: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent.ckpt", new_run, "not a complete checkpoint")
    (copy / "metadata.json").unlink()
    refused(copy, new_run, "not a complete checkpoint")


def test_another_shape_is_refused(new_run, copy: Path) -> None:
    refused(copy, new_run, "does not fit this model .*shape", hidden_size=48)
    refused(copy, new_run, r"does not fit this model .*layers\.2", num_layers=3)


@pytest.mark.parametrize("name", [".metadata", "common.pt", "__0_0.distcp"])
def test_a_truncated_checkpoint_is_refused(new_run, copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    refused(copy, new_run, "damaged|refused")


@pytest.mark.parametrize("name", [".metadata", "common.pt", "metadata.json"])
def test_a_missing_part_is_refused(new_run, copy: Path, name: str) -> None:
    (copy / name).unlink()
    refused(copy, new_run, "damaged|not a complete checkpoint")


def test_a_foreign_class_in_the_metadata_is_not_run(new_run, copy: Path, tmp_path: Path) -> None:
    (copy / ".metadata").write_bytes(pickle.dumps(Malicious(tmp_path / "evidence")))
    refused(copy, new_run, "refused: its metadata asks for posix.mkdir")
    assert not (tmp_path / "evidence").exists()


def test_a_foreign_class_in_the_common_part_is_not_run(new_run, copy: Path, tmp_path: Path) -> None:
    torch.save({"layout": [1, 1, 1], "progress": Malicious(tmp_path / "evidence")}, copy / "common.pt")
    refused(copy, new_run, "damaged")
    assert not (tmp_path / "evidence").exists()


def test_a_foreign_class_among_the_random_states_is_not_run(
    new_run, micro_batch, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"cpu": Malicious(tmp_path / "evidence")}
    monkeypatch.setattr(topology, "rng_state", lambda: state)
    run = new_run("fused_adam")
    run.step(micro_batch((64,)))
    checkpoint.save(copy, run.bert, run.optimizer, {})
    monkeypatch.undo()
    refused(copy, new_run, "damaged")
    assert not (tmp_path / "evidence").exists()
