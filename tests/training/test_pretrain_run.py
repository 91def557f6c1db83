"""Whole runs of examples/pretrain.py: its log, a kill and a second start, two processes, a run from a .nemo.

Each run is a start of the interpreter with all libraries, so a few runs, made once, serve all tests.
"""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import commands
import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.megatron import checkpoint_folder, engine, topology
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
NUM_SHORT = 6  # steps, in runs that start from a .nemo
ASYNC = "exp_manager.checkpoint_callback_params.async_save=true"
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


Command = commands.Process | subprocess.Popen[str]
Start = Callable[..., Command]


def ended(process: Command, folder: Path) -> Run:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"{out[-2000:]}\n{err[-4000:]}"
    return Run(folder, out, err)


@pytest.fixture(scope="module")
def start(pretrain, data_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a run in a folder."""

    def begin(folder: Path, *overrides: str, launcher: Sequence[str] = ()) -> Command:
        return pretrain(folder, *data_overrides, *OVERRIDES, *overrides, launcher=launcher)

    return begin


@pytest.fixture(scope="module")
def runs(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Make the runs, two at a time: one undisturbed, one killed and started again, and three from its .nemo.

    The killed one saves in the background, and a bit of its newest checkpoint is flipped. The last one is
    stopped by a signal and started again.
    """
    names = ("undisturbed", "killed", "from_nemo", "two", "stopped")
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    undisturbed = start(folders["undisturbed"], *DROPOUT)
    killed = start(folders["killed"], *DROPOUT, ASYNC)
    checkpoints = folders["killed"] / "runs" / NAME / "checkpoints"
    while killed.poll() is None and not (checkpoints / "step=4.ckpt").exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    flip_a_bit(checkpoint_folder.finished(checkpoints)[0].path / "__0_1.distcp")
    assert killed.returncode == -signal.SIGKILL
    assert not (folders["killed"] / "runs" / NAME / "checkpoints" / f"{NAME}.nemo").exists()
    made = {"undisturbed": ended(undisturbed, folders["undisturbed"])}
    again = start(folders["killed"], *DROPOUT, ASYNC)
    short = [f"trainer.max_steps={NUM_SHORT}", f"restore_from_path={made['undisturbed'].nemo}"]
    from_nemo = start(folders["from_nemo"], *short)
    made["killed"] = ended(again, folders["killed"])
    made["from_nemo"] = ended(from_nemo, folders["from_nemo"])
    made["two"] = ended(start(folders["two"], *short, "trainer.devices=2"), folders["two"])
    made["stopped"] = stopped_and_started_again(start, folders["stopped"], short)
    return made


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def stopped_and_started_again(start: Start, folder: Path, overrides: list[str]) -> Run:
    """Run on two ranks of torchrun, ask only the second of them to stop, and start again without torchrun."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    process = start(folder, *overrides, ASYNC, launcher=torchrun)
    assert process.stdout is not None
    out = ""
    while "\nstep 1/" not in out and (line := process.stdout.readline()):
        out += line
    for rank in psutil.Process(process.pid).children():
        if rank.environ().get("RANK") == "1":
            rank.send_signal(signal.SIGUSR1)
    rest, err = process.communicate(timeout=300)
    assert process.returncode == 1, "torchrun's own code for ranks that end with another than 0"
    assert re.search(r"exitcode +: 75", err), err[-4000:]
    assert "stopped by SIGUSR1 after step" in rest
    return ended(start(folder, *overrides, ASYNC, "trainer.devices=2"), folder)


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
        "padded_tokens_per_second",
        "tflops_per_device",
        "data_wait_share",
        "peak_memory_gib",
        "skipped_steps",
    }
    for figures in run.steps.values():
        assert 0 < figures["tokens_per_second"] <= figures["padded_tokens_per_second"]
        assert 0 <= figures["data_wait_share"] < 1
        assert figures["peak_memory_gib"] > 0.1
        assert figures["skipped_steps"] == 0
    assert list(run.validations) == [4, 8]
    assert run.validations[4].keys() == {
        "val_loss",
        "val_masked_accuracy",
        "val_base_cross_entropy",
        "val_hidden_bases",
    }
    rates = [figures["lr"] for figures in run.steps.values()]
    assert rates[:3] == pytest.approx([0, 1e-3, 2e-3])  # the rates the steps were taken with
    assert max(rates) == rates[2]
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
    assert lines[3].startswith("kernels: attention blocks (a CPU: ")
    assert [line for line in lines[4:] if not line.startswith("step ")] == []
    assert run.err == ""


def test_a_csv_and_tensorboard_have_the_same_figures(runs: dict[str, Run]) -> None:
    run = runs["undisturbed"]
    folder = run.folder / "runs" / NAME
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses == pytest.approx([figures["loss"] for figures in run.steps.values()], abs=1e-6)
    counts = [int(float(row["consumed_tokens"])) for row in rows if row["consumed_tokens"]]
    assert counts == [figures["consumed_tokens"] for figures in run.steps.values()]
    assert [row["step"] for row in rows if row["val_loss"]] == ["3", "7"]
    events = EventAccumulator(str(folder / "version_0")).Reload()
    assert [each.value for each in events.Scalars("loss")] == pytest.approx(losses)
    assert {"mfu", "loss_scale"}.isdisjoint(events.Tags()["scalars"])  # of a CPU in fp32
    assert {"grad_norm", "tflops_per_device"} <= set(events.Tags()["scalars"])
    earlier = runs["killed"].folder / "runs" / NAME / "run_0" / "metrics.csv"
    assert "base_cross_entropy" in earlier.read_text()


def test_a_step_that_is_not_finite_ends_all_ranks(start: Start, toy_shards: Path, tmp_path: Path) -> None:
    given = ("model.optim.lr=1e30", "model.optim.sched.constant_steps=0", "model.data.num_workers=0")
    process = start(tmp_path, *given, "trainer.devices=2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    [line] = err.splitlines()  # one of the two says it
    assert line.startswith("error: step 2 is not finite: loss nan, gradient norm nan, samples ")
    assert "trainer.nonfinite_tolerance=0" in line
    first, last = map(int, re.search(r"samples (\d+) to (\d+)", line).groups())
    assert [each.split()[1] for each in out.splitlines() if each.startswith("step ")] == ["1/8"]
    data = same_data(toy_shards)
    _, met = islice(data.train_dataloader(), 2)
    data.set_consumed_samples(first)
    [again] = islice(data.train_dataloader(), 1)
    assert sorted(number for row in again.sample_numbers for number in row) == list(range(first, last + 1))
    for one, other in zip(met.micro_batches, again.micro_batches, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.labels, other.labels)


def same_data(toy_shards: Path) -> PretrainingDataModule:
    """Make the data of these runs, as one rank sees it."""
    data = PretrainingDataModule(
        DataPaths((str(toy_shards / "train"),), str(toy_shards / "validation")),
        StepShape(2, 1, TOKENS_PER_ROW),
        Masking(MaskRule(3)),
        seed=SEED,
        num_workers=0,
    )
    data.setup()
    data.set_data_parallel(0, 1)
    return data


def test_a_finished_run_leaves_a_model_and_its_last_checkpoints(runs: dict[str, Run]) -> None:
    for name in ("undisturbed", "killed"):
        names = sorted(path.name for path in runs[name].nemo.parent.iterdir())
        best = [each for each in names if each.startswith("val_loss=") and each.endswith(".ckpt")]
        assert len(best) == 1
        damaged = [each for each in names if each.endswith(".damaged")]
        assert len(damaged) == (name == "killed")
        assert sorted({*names} - {*damaged}) == [f"{NAME}.nemo", "step=6.ckpt", "step=8.ckpt", *best]


def test_a_killed_run_ends_as_one_that_was_not(runs: dict[str, Run]) -> None:
    whole, resumed = runs["undisturbed"], runs["killed"]
    assert "resuming from" in resumed.out
    assert re.search(
        r"ckpt is damaged \(__0_1.distcp does not match its checksum\) and was put aside", resumed.out
    )
    assert 3 <= min(resumed.steps) <= NUM_STEPS
    assert list(resumed.steps) == list(range(min(resumed.steps), NUM_STEPS + 1))
    timed = {
        "tokens_per_second",
        "padded_tokens_per_second",
        "tflops_per_device",
        "data_wait_share",
        "peak_memory_gib",
        "train_step_timing in s",
    }
    for step, figures in resumed.steps.items():
        for name in figures.keys() - timed:
            assert figures[name] == whole.steps[step][name], f"{name} of step {step}"
    assert resumed.validations[NUM_STEPS] == whole.validations[NUM_STEPS]
    assert resumed.nemo.read_bytes() == whole.nemo.read_bytes()


def test_a_run_from_a_nemo_starts_at_its_loss(runs: dict[str, Run], toy_shards: Path) -> None:
    model = restore(runs["undisturbed"].nemo, DnabertModel)
    data = same_data(toy_shards)
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
    assert list(two.steps) == list(range(1, NUM_SHORT + 1))
    for step, figures in one.steps.items():
        for name in ("loss", "grad_norm", "base_cross_entropy", "consumed_samples", "consumed_tokens", "lr"):
            assert two.steps[step][name] == pytest.approx(figures[name], rel=1e-5, abs=2e-6), name
    assert two.out.count(f"step 1/{NUM_SHORT}") == 1  # one process speaks


def test_a_stopped_run_ends_as_one_that_was_not(runs: dict[str, Run]) -> None:
    whole, resumed = runs["two"], runs["stopped"]
    assert 2 <= min(resumed.steps, default=NUM_SHORT) <= NUM_SHORT
    assert resumed.nemo.read_bytes() == whole.nemo.read_bytes()
