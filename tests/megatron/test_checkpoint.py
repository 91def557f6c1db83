"""Checkpoints to resume from: all of a model comes back, and nothing in a file of another's making is run."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from megatron.core.transformer.module import MegatronModule

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint, checkpoint_folder, topology
from dnabert_nemo.megatron.checkpoint_folder import HashedFile
from dnabert_nemo.megatron.checkpoint_saving import Saving
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


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_from_before_its_first_step(new_run, micro_batch, tmp_path: Path, name: str) -> None:
    run = new_run(name)
    checkpoint.save(tmp_path / "step=0.ckpt", run.bert, run.optimizer, {})
    losses = [run.step(micro_batch((64,), seed)) for seed in range(3)]
    again = new_run(name, seed=9)
    checkpoint.load(tmp_path / "step=0.ckpt", again.bert, again.optimizer)
    assert [again.step(micro_batch((64,), seed)) for seed in range(3)] == losses


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_scale_comes_back(new_run, tmp_path: Path, name: str) -> None:
    run, again = (new_run(name, precision="fp16") for _ in range(2))
    scalers = [each.optimizer.megatron.chained_optimizers[0].grad_scaler for each in (run, again)]
    for overflows in (True, True, True, False):
        scalers[0].update(overflows)
    state = scalers[0].state_dict()
    assert state != scalers[1].state_dict()
    checkpoint.save(tmp_path / "step=1.ckpt", run.bert, run.optimizer, {})
    checkpoint.load(tmp_path / "step=1.ckpt", again.bert, again.optimizer)
    assert scalers[1].state_dict() == state


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_written_while_training_goes_on(new_run, micro_batch, tmp_path: Path, name: str) -> None:
    run = new_run(name)
    run.step(micro_batch((64,)))
    checkpoint.save(tmp_path / "waited.ckpt", run.bert, run.optimizer, {})
    for _ in range(2):  # the second into the memory of the first
        saving = checkpoint.begin(tmp_path / "step=1.ckpt", run.bert, run.optimizer, {}, copy=True)
        for parameter in run.bert.parameters():
            parameter.data.zero_()
        saving.wait()
        checkpoint.load(tmp_path / "step=1.ckpt", run.bert, run.optimizer)
        checkpoint.save(tmp_path / "again.ckpt", run.bert, run.optimizer, {})
    for name_ in ("__0_0.distcp", "__0_1.distcp"):
        content = {
            (tmp_path / each / name_).read_bytes() for each in ("waited.ckpt", "again.ckpt", "step=1.ckpt")
        }
        assert len(content) == 1, name_


def test_a_full_disk_leaves_the_one_before_and_no_litter(
    new_run, micro_batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("fused_adam")
    run.step(micro_batch((64,)))
    path = tmp_path / "step=1.ckpt"
    checkpoint.save(path, run.bert, run.optimizer, {"number": 1})
    original = HashedFile.write
    for full in ("__0_1.distcp", "common.pt", "manifest.json"):

        def write(file: HashedFile, content: bytes, full: str = full) -> int:
            if file._path.name == full:
                file.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise file.error
            return original(file, content)

        monkeypatch.setattr(HashedFile, "write", write)
        with pytest.raises(
            CheckpointError, match=rf"^{path}: could not be written: the disk is full.* GB are free"
        ):
            checkpoint.save(path, run.bert, run.optimizer, {"number": 2})
        monkeypatch.undo()
        assert [each.name for each in tmp_path.iterdir()] == ["step=1.ckpt"]
    assert checkpoint.load(path, run.bert, run.optimizer) == {"number": 1}


def test_one_rank_that_fails_fails_the_checkpoint_on_all(tmp_path: Path) -> None:
    board = dist.HashStore()
    results: dict[int, str] = {}
    aside = checkpoint_folder.make_aside(tmp_path / "step=1.ckpt")

    class OnePart:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def write(self, aside: Path) -> Any:
            if self.rank == 1:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            return [], []

    for rank in (2, 1, 0):
        results[rank] = Saving(  # type: ignore[assignment]
            tmp_path / "step=1.ckpt", aside, OnePart(rank), board, rank=rank, num_ranks=3, number=0
        )
    messages = set()
    for saving in results.values():
        with pytest.raises(CheckpointError, match="could not be written: rank 1: the disk is full") as raised:
            saving.wait()
        assert saving.has_failed
        messages.add(str(raised.value))
    assert len(messages) == 1
    assert not any(tmp_path.iterdir())


def test_a_rank_that_is_gone_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    aside = checkpoint_folder.make_aside(tmp_path / "step=1.ckpt")
    part = SimpleNamespace(write=lambda aside: ([], []))
    saving = Saving(tmp_path / "step=1.ckpt", aside, part, dist.HashStore(), rank=0, num_ranks=2, number=0)
    with pytest.raises(CheckpointError, match="another rank did not write its part"):
        saving.wait(at_most=0.1)
    assert not any(tmp_path.iterdir())


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


def signed(path: Path) -> None:
    """Give a checkpoint the checksums that its files have now, as one who means harm would."""
    files = [checkpoint_folder.written(each) for each in path.iterdir() if each.name != "manifest.json"]
    checkpoint_folder.write_manifest(path, files)


def refused(path: Path, new_run, says: str, **changed: Any) -> None:
    run = new_run("fused_adam", **changed)
    with pytest.raises(CheckpointError, match=says) as raised:
        checkpoint.load(path, run.bert, run.optimizer)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message


def test_what_is_not_a_checkpoint_is_refused(new_run, copy: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent.ckpt", new_run, "not a complete checkpoint")
    (copy / "manifest.json").unlink()
    refused(copy, new_run, "not a complete checkpoint")


def test_another_shape_is_refused(new_run, copy: Path) -> None:
    refused(copy, new_run, "does not fit this model .*shape", hidden_size=48)
    refused(copy, new_run, r"does not fit this model .*layers\.2", num_layers=3)


FILES = (".metadata", "common.pt", "metadata.json", "__0_0.distcp", "__0_1.distcp")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_checkpoint_is_refused(new_run, copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    refused(copy, new_run, rf"damaged: {re.escape(name)} has [\d,]+ bytes where [\d,]+ were written")


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_seen_before_anything_is_read(
    new_run, copy: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    monkeypatch.setattr(checkpoint, "read_metadata", lambda path: pytest.fail("it was read"))
    refused(copy, new_run, f"damaged: {re.escape(name)} does not match its checksum")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_part_is_refused(new_run, copy: Path, name: str) -> None:
    (copy / name).unlink()
    refused(copy, new_run, "damaged|not a complete checkpoint")


def test_a_foreign_class_in_the_metadata_is_not_run(new_run, copy: Path, tmp_path: Path) -> None:
    (copy / ".metadata").write_bytes(pickle.dumps(Malicious(tmp_path / "evidence")))
    refused(copy, new_run, "damaged: .metadata")
    signed(copy)
    refused(copy, new_run, "refused: its metadata asks for posix.mkdir")
    assert not (tmp_path / "evidence").exists()


def test_metadata_that_names_another_file_is_refused(new_run, copy: Path, tmp_path: Path) -> None:
    metadata = pickle.loads((copy / ".metadata").read_bytes())
    storage = next(iter(metadata.storage_data.values()))
    storage.relative_path = "../elsewhere"
    (copy / ".metadata").write_bytes(pickle.dumps(metadata))
    signed(copy)
    refused(copy, new_run, "refused: its metadata names another file, ../elsewhere")


@pytest.mark.parametrize("asked", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"])
def test_a_foreign_class_in_the_common_part_is_not_run(
    new_run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv(asked, "1")
    torch.save({"layout": [1, 1, 1], "progress": Malicious(tmp_path / "evidence")}, copy / "common.pt")
    refused(copy, new_run, "damaged: common.pt")
    signed(copy)
    refused(copy, new_run, "it asks for posix.mkdir")
    assert os.environ[asked] == "1"
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
