"""Whole runs of examples/pretrain.py: its log, a kill and a second start, two processes, a run from a .nemo.

Each run is a start of the interpreter with all libraries, so a few runs, made once, serve all tests.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import torch

from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.megatron import engine, topology
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertModel, restore

NUM_STEPS, TOKENS_PER_ROW, SEED = 8, 1024, 1234
OVERRIDES = (
    "model.num_layers=2",
    "model.hidden_size=64",
    "model.ffn_hidden_size=256",
    "model.num_attention_heads=4",
    "model.hidden_dropout=0.0",
    "model.attention_dropout=0.0",
    "model.micro_batch_size=1",
    "model.global_batch_size=2",
    "model.optim.lr=2e-3",
    "model.optim.sched.min_lr=2e-4",
    f"model.data.tokens_per_row={TOKENS_PER_ROW}",
    "model.data.sequence_length=null",
    "model.max_position_embeddings=512",
    f"model.seed={SEED}",
    "model.data.num_validation_samples=8",
    f"trainer.max_steps={NUM_STEPS}",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "exp_manager.checkpoint_callback_params.every_n_train_steps=2",
    "model.optim.sched.warmup_steps=2",
    "model.optim.sched.constant_steps=1",
)
DROPOUT = ("model.hidden_dropout=0.1", "model.attention_dropout=0.1")
NAME = "dnabert_tiny"


@dataclass(frozen=True)
class Run:
    """A run that has ended, in its folder."""

    folder: Path
    out: str
    err: str

    @property
    def nemo(self) -> Path:
        return self.folder / "runs" / NAME / "checkpoints" / f"{NAME}.nemo"

    @property
    def steps(self) -> dict[int, dict[str, float]]:
        """The metrics of each training step in the log file of the last start."""
        return {int(step): figures for step, figures in self._lines(r"step (\d+)/\d+  ")}

    @property
    def validations(self) -> dict[int, dict[str, float]]:
        return {int(step): figures for step, figures in self._lines(r"step (\d+) validation  ")}

    def _lines(self, start: str) -> list[tuple[str, dict[str, float]]]:
        found = []
        for line in (self.folder / "runs" / NAME / "train_log.txt").read_text().splitlines():
            if match := re.match(start, line):
                pairs = (pair.rsplit(" ", 1) for pair in line[match.end() :].split("  "))
                figures = {name: float(figure.replace(",", "")) for name, figure in pairs}
                found.append((match[1], figures))
        return found


Start = Callable[..., subprocess.Popen[str]]


def ended(process: subprocess.Popen[str], folder: Path) -> Run:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"{out[-2000:]}\n{err[-4000:]}"
    return Run(folder, out, err)


@pytest.fixture(scope="module")
def start(pretrain, data_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a run in a folder."""

    def begin(folder: Path, *overrides: str) -> subprocess.Popen[str]:
        return pretrain(folder, *data_overrides, *OVERRIDES, *overrides)

    return begin


@pytest.fixture(scope="module")
def runs(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Make the runs, two at a time: one undisturbed, one killed and started again, and two from its .nemo."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("undisturbed", "killed", "from_nemo", "two")}
    undisturbed = start(folders["undisturbed"], *DROPOUT)
    killed = start(folders["killed"], *DROPOUT)
    finished = folders["killed"] / "runs" / NAME / "checkpoints" / "step=2.ckpt" / "metadata.json"
    while killed.poll() is None and not finished.exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (folders["killed"] / "runs" / NAME / "checkpoints" / f"{NAME}.nemo").exists()
    made = {"undisturbed": ended(undisturbed, folders["undisturbed"])}
    again = start(folders["killed"], *DROPOUT)
    short = ["trainer.max_steps=3", f"restore_from_path={made['undisturbed'].nemo}"]
    from_nemo = start(folders["from_nemo"], *short)
    made["killed"] = ended(again, folders["killed"])
    made["from_nemo"] = ended(from_nemo, folders["from_nemo"])
    made["two"] = ended(start(folders["two"], *short, "trainer.devices=2"), folders["two"])
    return made


def test_the_log_names_what_is_measured(runs: dict[str, Run]) -> None:
    run = runs["undisturbed"]
    assert list(run.steps) == list(range(1, NUM_STEPS + 1))
    assert run.steps[1].keys() >= {
        "loss",
        "masked_accuracy",
        "base_cross_entropy",
        "lr",
        "grad_norm",
        "consumed_samples",
        "consumed_tokens",
        "tokens_per_second",
    }
    assert list(run.validations) == [4, 8]
    assert run.validations[4].keys() == {
        "val_loss",
        "val_masked_accuracy",
        "val_base_cross_entropy",
        "val_hidden_bases",
    }
    rates = [figures["lr"] for figures in run.steps.values()]
    assert rates[0] == pytest.approx(1e-3)
    assert max(rates) == rates[1] == pytest.approx(2e-3)
    assert rates[-1] == pytest.approx(2e-4)
    assert run.steps[NUM_STEPS]["loss"] < run.steps[1]["loss"]


def test_the_log_says_what_is_trained_and_the_terminal_says_no_more(runs: dict[str, Run]) -> None:
    run = runs["undisturbed"]
    per_layer = 4 * (64 * 64 + 64) + (2 * 64 * 256 + 256 + 64) + 4 * 64
    parameters = (128 + 512) * 64 + 2 * per_layer + 2 * 64 + (64 * 64 + 64) + 2 * 64 + 128
    lines = run.out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["data", "model"]
    assert lines[1].startswith(f"model: {parameters:,} parameters: 2 layers x 64 hidden, 3-mers")
    assert lines[2].startswith("precision fp32, 1 ranks")
    assert all(line.startswith("step ") for line in lines[3:])
    assert run.err == ""


def test_a_finished_run_leaves_a_model_and_its_last_checkpoints(runs: dict[str, Run]) -> None:
    for name in ("undisturbed", "killed"):
        names = sorted(path.name for path in runs[name].nemo.parent.iterdir())
        best = [each for each in names if each.startswith("val_loss=")]
        assert len(best) == 1
        assert names == [f"{NAME}.nemo", "step=6.ckpt", "step=8.ckpt", *best]


def test_a_killed_run_ends_as_one_that_was_not(runs: dict[str, Run]) -> None:
    whole, resumed = runs["undisturbed"], runs["killed"]
    assert "resuming from" in resumed.out
    assert 3 <= min(resumed.steps) <= NUM_STEPS
    assert list(resumed.steps) == list(range(min(resumed.steps), NUM_STEPS + 1))
    timed = {"tokens_per_second", "train_step_timing in s"}
    for step, figures in resumed.steps.items():
        for name in figures.keys() - timed:
            assert figures[name] == whole.steps[step][name], f"{name} of step {step}"
    assert resumed.validations[NUM_STEPS] == whole.validations[NUM_STEPS]
    assert resumed.nemo.read_bytes() == whole.nemo.read_bytes()


def test_a_run_from_a_nemo_starts_at_its_loss(runs: dict[str, Run], toy_shards: Path) -> None:
    model = restore(runs["undisturbed"].nemo, DnabertModel)
    data = PretrainingDataModule(
        DataPaths((str(toy_shards / "train"),), str(toy_shards / "validation")),
        StepShape(2, 1, TOKENS_PER_ROW),
        Masking(MaskRule(3)),
        seed=SEED,
        num_workers=0,
    )
    data.setup()
    data.set_data_parallel(0, 1)
    topology.start(ParallelSizes(), SEED)
    [step] = islice(data.train_dataloader(), 1)
    with torch.no_grad():
        sums = engine.run_step(
            model.bert,
            step.micro_batches,
            MaskedLMLoss(3),
            hidden_tokens=TOKENS_PER_ROW,
            num_sums=len(MASKED_LM_SUMS),
            training=False,
        )
    assert runs["from_nemo"].steps[1]["loss"] == pytest.approx(float(sums[0] / sums[1]), abs=2e-6)


def test_two_devices_alone_train_as_one(runs: dict[str, Run]) -> None:
    one, two = runs["from_nemo"], runs["two"]
    assert "precision fp32, 2 ranks" in two.out
    assert list(two.steps) == [1, 2, 3]
    for step, figures in one.steps.items():
        for name in ("loss", "grad_norm", "base_cross_entropy", "consumed_samples", "consumed_tokens", "lr"):
            assert two.steps[step][name] == pytest.approx(figures[name], rel=1e-5, abs=2e-6), name
    assert two.out.count("step 1/3") == 1  # one process speaks
