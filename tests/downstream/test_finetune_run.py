"""Fine-tuning as a user starts it: an early end with the best weights, and features that are kept."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import commands
import pytest
import torch
from omegaconf import OmegaConf

from dnabert_nemo.command import CONF
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertClassifier, DnabertModel, export, restore

SHAPE = {"num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 64, "num_attention_heads": 2}
QUICK = """model.micro_batch_size=8 model.global_batch_size=8 model.optim.sched.warmup_steps=1
    trainer.log_every_n_steps=1 exp_manager.create_tensorboard_logger=false"""
Finetune = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def finetune(splice_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetune:
    """Run examples/finetune.py in one folder, on a small encoder with first weights."""
    folder = tmp_path_factory.mktemp("finetune")
    shape = {"tokenizer": {"k": 3, "vocab_file": None}, "max_position_embeddings": 512, **SHAPE}
    made = DnabertModel(OmegaConf.create({"seed": 5, **shape}))
    made.build(ParallelSizes(), "fp32")
    made.save_to(str(folder / "encoder.nemo"))

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [str(CONF.parent / "examples" / "finetune.py"), "--config-name", "splice"]
        given = ["restore_from_path=encoder.nemo", f"model.data.dataset_path={splice_dir}", *QUICK.split()]
        done = commands.run([*command, *given, *overrides], cwd=folder, timeout=300)
        assert done.returncode == 0, done.stderr
        return done

    run.folder = folder  # type: ignore[attr-defined]
    return run


def test_a_run_that_gets_no_better_ends_with_the_best_weights(finetune: Finetune) -> None:
    done = finetune(
        "name=early",
        "trainer.max_steps=40",
        "trainer.val_check_interval=2",
        "trainer.limit_val_batches=2",
        "model.freeze_encoder=false",
        "model.pooling=mean",
        "model.lora.rank=4",
        "model.class_weights=balanced",
        "model.optim.layer_decay=0.5",
        "model.optim.lr=1e-9",  # that nothing gets better by
        "exp_manager.create_early_stopping_callback=true",
        "exp_manager.early_stopping_callback_params.patience=2",
    )
    steps = [int(step) for step in re.findall(r"^step (\d+) validation", done.stdout, re.M)]
    assert steps == [2, 4, 6], "the first is the best, and two more are waited for"
    checkpoints = finetune.folder / "runs" / "early" / "checkpoints"  # type: ignore[attr-defined]
    [best] = checkpoints.glob("val_mcc=*-step=2.ckpt")
    written, kept = export.read_model(checkpoints / "early.nemo"), export.read_model(best)
    last = export.read_model(checkpoints / "step=6.ckpt")
    assert all(torch.equal(tensor, kept.weights[name]) for name, tensor in written.weights.items())
    assert any(not torch.equal(tensor, last.weights[name]) for name, tensor in written.weights.items())
    assert written.config["pooling"] == "mean"
    assert written.config["lora"] is None, "adapters are part of the weights"
    assert not any("lora" in name for name in written.weights)
    assert len(written.config["class_weights"]) == 3


def test_a_second_head_takes_the_features_of_the_first(finetune: Finetune) -> None:
    given = ("trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.limit_val_batches=1")
    features = finetune.folder / "runs" / "features"  # type: ignore[attr-defined]
    first = finetune("name=one", *given, "model.seed=1")
    kept = {path: path.read_bytes() for path in features.iterdir()}
    assert len(kept) == 2  # of train and validation
    again = finetune("name=again", *given, "model.seed=1")
    assert {path: path.read_bytes() for path in features.iterdir()} == kept
    assert "is there already" not in first.stdout
    assert again.stdout.count("is there already") == 2

    def losses(done: subprocess.CompletedProcess[str]) -> list[str]:
        return re.findall(r"loss \S+", done.stdout)

    assert losses(again) == losses(first) != []


def test_what_a_run_validated_is_what_its_file_says(finetune: Finetune, splice_dir: Path) -> None:
    """The head learns from whitened features; files have it for features as they are."""
    given = ("trainer.max_steps=12", "trainer.val_check_interval=12", "model.optim.lr=1e-2")
    done = finetune("name=told", *given)
    [loss] = re.findall(r"^step 12 validation  val_loss (\S+)", done.stdout, re.M)
    checkpoints = finetune.folder / "runs" / "told" / "checkpoints"  # type: ignore[attr-defined]
    files = [checkpoints / name for name in ("told.nemo", "step=12.ckpt")]
    written, kept = map(export.read_model, files)
    assert all(torch.equal(tensor, kept.weights[name]) for name, tensor in written.weights.items())
    windows = load_splice_dataset(splice_dir).splits["validation"]
    probabilities = restore(files[0], DnabertClassifier).predict(windows.sequences)
    own = probabilities[torch.arange(len(windows)), torch.from_numpy(windows.labels)]
    assert float(-own.log().mean()) == pytest.approx(float(loss), abs=2e-4)
    assert float(loss) < 1.05, "below that of guessing, log 3"
