"""A .nemo file from a checkpoint, as the run itself would write it, and what a file tells of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import pytest
import torch

from dnabert_nemo.__main__ import main
from dnabert_nemo.command import CONF
from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint
from dnabert_nemo.megatron.engine import data_parallel
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertModel, nemo_file
from dnabert_nemo.model.export import read_model
from dnabert_nemo.model.huggingface import write_folder
from dnabert_nemo.model.inspect_nemo import inspect, report_lines

EXAMPLES = CONF.parent / "examples"
HASHES = {"train": ["a" * 64], "validation": ["b" * 64]}


@pytest.fixture
def trained(new_model) -> Callable[..., DnabertModel]:
    """Make a model as it is in a run that has taken 7 steps."""

    def make(**changed: Any) -> DnabertModel:
        model = new_model(**changed)
        datamodule = SimpleNamespace(hashes=lambda: HASHES)
        model._trainer = SimpleNamespace(global_step=7, datamodule=datamodule)
        model.consumed_samples, model.consumed_tokens = 40, 1234
        return model

    return make


def save_checkpoint(model: DnabertModel, path: Path) -> Path:
    """Save what a run saves to resume from, as Lightning asks the model and the strategy to."""
    kept: dict[str, Any] = {"global_step": 7}
    ddp = data_parallel(model.bert, distributed_optimizer=False)
    model.optimizer = MegatronAdamW(ddp, OptimizerSettings())
    model.on_save_checkpoint(kept)
    checkpoint.save(path, model.bert, model.optimizer, kept)
    return path


@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
def test_a_checkpoint_is_what_the_run_would_write(trained, tmp_path: Path, block_type: str) -> None:
    model = trained(transformer_block_type=block_type)
    model.save_to(str(tmp_path / "by_the_run.nemo"))
    file = read_model(save_checkpoint(model, tmp_path / "step=7.ckpt"))
    nemo_file.write(tmp_path / "exported.nemo", file.config, file.vocabulary, file.weights)
    assert read_model(tmp_path).weights.keys() == file.weights.keys()  # the newest of the folder
    assert (tmp_path / "exported.nemo").read_bytes() == (tmp_path / "by_the_run.nemo").read_bytes()


def test_a_classifiers_checkpoint_is_exported_too(new_classifier, trained, tmp_path: Path) -> None:
    classifier = new_classifier()
    classifier._trainer = trained()._trainer
    classifier.build(ParallelSizes(), "bf16")
    file = read_model(save_checkpoint(classifier, tmp_path / "step=7.ckpt"))
    assert file.config["labels"] == ["donor", "acceptor", "none"]
    weights = dict(classifier.named_parameters())
    assert file.weights.keys() == weights.keys()
    for name, tensor in file.weights.items():
        assert tensor.dtype == weights[name].dtype
        assert torch.equal(tensor, weights[name])


def test_what_cannot_be_exported_is_told(trained, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        read_model(tmp_path)
    (tmp_path / "step=1.ckpt").mkdir()
    with pytest.raises(CheckpointError, match=r"step=1\.ckpt: not a complete checkpoint"):
        read_model(tmp_path / "step=1.ckpt")
    model = trained()
    path = save_checkpoint(model, tmp_path / "step=7.ckpt")
    optimizer = model.optimizer
    checkpoint.save(tmp_path / "old.ckpt", model.bert, optimizer, {"global_step": 7})
    with pytest.raises(CheckpointError, match=r"old\.ckpt: has no model config, as checkpoints of earlier"):
        read_model(tmp_path / "old.ckpt")
    wrong = {"model_config": model.file_config() | {"num_layers": 3}}
    checkpoint.save(tmp_path / "wrong.ckpt", model.bert, optimizer, wrong)
    with pytest.raises(CheckpointError, match=r"wrong\.ckpt: has no tensor 'encoder\.layers\.2"):
        read_model(tmp_path / "wrong.ckpt")
    wrong = {"model_config": model.file_config() | {"part": {"_target_": "os.mkdir"}}}
    checkpoint.save(tmp_path / "wrong.ckpt", model.bert, optimizer, wrong)
    with pytest.raises(CheckpointError, match=r"wrong\.ckpt: its model config has a key _target_"):
        read_model(tmp_path / "wrong.ckpt")
    content = bytearray((path / "__0_0.distcp").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "__0_0.distcp").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(path)


def test_provenance_tells_of_the_run_and_of_what_it_started_from(trained, new_model, tmp_path: Path) -> None:
    trained().save_to(str(tmp_path / "first.nemo"))
    first = nemo_file.read(tmp_path / "first.nemo").provenance
    assert first.pop("versions")["megatron-core"].startswith("0.16.")
    assert first == {"seed": 1, "steps": 7, "consumed_samples": 40, "consumed_tokens": 1234, "data": HASHES}
    then = trained()
    then.start_from(nemo_file.read(tmp_path / "first.nemo"), "first.nemo")
    then.save_to(str(tmp_path / "second.nemo"))
    second = nemo_file.read(tmp_path / "second.nemo").provenance
    assert second["started_from"].pop("versions")
    assert second["started_from"] == first
    assert new_model().file_config()["provenance"].keys() == {"versions"}


def test_inspection_counts_the_parameters_and_tells_the_rest(trained, tmp_path: Path) -> None:
    model = trained()
    model.save_to(str(tmp_path / "tiny.nemo"))
    found = inspect(tmp_path / "tiny.nemo")
    assert (
        found["parameters"]["total"]
        == model.shape.num_parameters()
        == sum(found["parameters"]["parts"].values())
    )
    assert found["parameters"]["parts"]["word embeddings"] == 128 * 32
    assert found["dtypes"] == ["float32"]
    assert (found["vocabulary"]["k"], found["vocabulary"]["size"], found["vocabulary"]["padded_size"]) == (
        3,
        69,
        128,
    )
    assert found["vocabulary"]["specials"]["[MASK]"] == 4
    assert found["provenance"]["data"] == HASHES
    lines = "\n".join(report_lines(found))
    for said in (
        f"parameters: {model.shape.num_parameters():,}",
        "num_layers: 2",
        "steps: 7",
        "a" * 64,
        "k=3, 69",
    ):
        assert said in lines
    told = "\n".join(report_lines(found | {"config": {"target": "a.B", "x": "\x1b[2J\nerror: none"}}))
    assert "\\x1b[2J\\nerror: none" in told
    assert "\x1b" not in told
    assert "before it was kept" in "\n".join(report_lines(found | {"provenance": {}}))


def test_the_inspection_is_a_command(
    nemo: Path, new_model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nemo", "inspect", str(nemo)]) == 0
    assert f"parameters: {new_model().shape.num_parameters():,}" in capsys.readouterr().out
    assert main(["nemo", "inspect", "--json", str(nemo)]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["num_layers"] == 2
    assert main(["nemo", "inspect", str(tmp_path / "absent.nemo")]) == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}/absent.nemo: no such file: give the path of a .nemo file\n"
    )


def test_its_json_is_json_and_nothing_else(nemo: Path) -> None:
    done = commands.run(["-m", "dnabert_nemo", "nemo", "inspect", "--json", str(nemo)], timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vocabulary"]["k"] == 3
    assert done.stderr == ""


def test_the_command_writes_what_it_says(trained, tmp_path: Path) -> None:
    path = save_checkpoint(trained(), tmp_path / "step=7.ckpt")
    overrides = [f"checkpoint={path}", f"output={tmp_path}/folder", "format=huggingface"]
    done = commands.run([str(EXAMPLES / "export.py"), *overrides], timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/folder: written from {path}\n"
    write_folder(tmp_path / "expected", read_model(path), "")
    for each in (tmp_path / "expected").iterdir():
        assert (tmp_path / "folder" / each.name).read_bytes() == each.read_bytes()
