"""trainer.profile: what a run writes of three of its steps, again when it is resumed, and when not."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.model.step_rates import DataWait, StepRates
from dnabert_nemo.training import profile
from dnabert_nemo.training.check import check_pretraining
from dnabert_nemo.training.profile import ProfiledSteps, Ranges, profiling

NAME = "dnabert_tiny"
TINY = (
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=2",
    "model.data.tokens_per_row=256",
    "model.data.num_validation_samples=4",
    "model.data.num_workers=0",
    "model.optim.sched.warmup_steps=1",
    "model.optim.sched.constant_steps=1",
    "trainer.val_check_interval=100",
    "trainer.log_every_n_steps=4",
)


def events(trace: Path) -> list[dict[str, Any]]:
    with gzip.open(trace, "rt") as file:
        return json.load(file)["traceEvents"]


@pytest.fixture(scope="module")
def runs(pretrain: Callable[..., Any], data_overrides: list[str], tmp_path_factory: pytest.TempPathFactory):
    """A run of 9 steps with a profile, its folder afterwards and that of going on with it to 18."""
    folder = tmp_path_factory.mktemp("profiled")

    def run(max_steps: int) -> str:
        overrides = [*data_overrides, *TINY, f"trainer.max_steps={max_steps}", "trainer.profile=true"]
        process = pretrain(folder, *overrides)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out[-2000:]}\n{err[-4000:]}"
        return out

    said = [run(9)]
    first = {path.name for path in (folder / "runs" / NAME).iterdir()}
    said.append(run(18))
    return folder / "runs" / NAME, said, first


def test_the_trace_has_the_ranges_of_three_steps_and_torchs_own_events(runs) -> None:
    folder, _, _ = runs
    found = events(folder / "run_0" / "profile_rank0.json.gz")
    times = {"step": 3, "optimizer": 3, "data wait": 2}  # that of the first is before its step
    times |= dict.fromkeys(("forward", "backward", "layer 1", "layer 2"), 6)  # a step has two micro batches
    counted = Counter(event["name"] for event in found if event.get("cat") == "user_annotation")
    assert {name: counted[name] for name in times} == times
    assert any(event["name"] == "aten::mm" for event in found)

    def inside(name: str, outer: str) -> bool:
        outers = [(e["ts"], e["ts"] + e["dur"]) for e in found if e["name"] == outer and e["ph"] == "X"]
        inners = [(e["ts"], e["ts"] + e["dur"]) for e in found if e["name"] == name and e["ph"] == "X"]
        return all(any(a <= begin and end <= b for a, b in outers) for begin, end in inners)

    assert inside("layer 2", "forward")
    assert inside("forward", "step")
    assert inside("backward", "step")
    assert not inside("backward", "forward")


def test_the_table_and_the_log_say_where_and_what(runs) -> None:
    folder, said, first = runs
    lines = (folder / "run_0" / "profile_rank0.txt").read_text().splitlines()
    assert lines[0] == "rank 0, steps 6 to 8"
    assert any("aten::mm" in line for line in lines)
    assert {"profile_rank0.json.gz", "profile_rank0.txt"} <= first
    assert not [name for name in first if "unfinished" in name]
    where = f"runs/{NAME}/profile_rank0.txt and, as a trace, profile_rank0.json.gz"
    assert f"profile: steps 6 to 8 in {where}" in said[0]
    assert f"profile: steps 15 to 17 in {where}" in said[1]
    assert "profiler_start" not in said[0]


def test_a_run_that_is_gone_on_with_writes_its_own(runs) -> None:
    folder, _, _ = runs
    assert (folder / "profile_rank0.txt").read_text().startswith("rank 0, steps 15 to 17\n")
    counted = Counter(event["name"] for event in events(folder / "profile_rank0.json.gz"))
    assert (counted["step"], counted["layer 1"]) == (3, 6)


def test_without_it_there_is_nothing_to_profile(tmp_path: Path) -> None:
    waits, callbacks = profiling(False, tmp_path)
    assert type(waits) is DataWait
    assert callbacks == []


class FakeRun:
    """Steps of a run as Lightning tells its callbacks of them; `outcomes` of the optimizer by step."""

    def __init__(self, callback: ProfiledSteps, ranges: Ranges, outcomes: dict[int, str] | None = None):
        self.callback, self.ranges = callback, ranges
        self.outcomes = outcomes or {}
        self.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1)
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        optimizer.last = SimpleNamespace(kind="stepped")  # type: ignore[attr-defined]
        self.module = SimpleNamespace(optimizer=optimizer, bert=None, rates=StepRates())

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            with self.ranges.profile("[_TrainingEpochLoop].train_dataloader_next"):
                pass
            self.callback.on_train_batch_start(self.trainer, self.module)
            with self.ranges.profile("run_training_batch"):
                self.module.optimizer.step()
            self.trainer.global_step += 1
            self.module.optimizer.last.kind = self.outcomes.get(self.trainer.global_step, "stepped")
            self.callback.on_train_batch_end(self.trainer, self.module)

    def validate(self) -> None:
        self.callback.on_validation_start(self.trainer, self.module)

    def finish(self) -> None:
        self.callback.on_train_end(self.trainer, self.module)


@pytest.fixture
def fake_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRun]:
    monkeypatch.setattr(profile, "mark", lambda *_, **__: lambda: None)

    def make(asked: bool | str = True, outcomes: dict[int, str] | None = None) -> FakeRun:
        ranges, [callback] = profiling(asked, tmp_path)
        return FakeRun(callback, ranges, outcomes)

    return make


def title(folder: Path) -> str:
    return (folder / "profile_rank0.txt").read_text().splitlines()[0]


def test_steps_that_look_for_a_loss_scale_are_not_profiled(fake_run, tmp_path: Path) -> None:
    run = fake_run(outcomes=dict.fromkeys(range(1, 21), "overflow"))
    run.step(30)
    assert title(tmp_path) == "rank 0, steps 22 to 24"


def test_a_validation_ends_it_before(fake_run, tmp_path: Path) -> None:
    run = fake_run()
    run.step(7)
    run.validate()
    assert title(tmp_path) == "rank 0, steps 6 to 7"
    run.step(7)
    run.finish()
    assert title(tmp_path) == "rank 0, steps 6 to 7"


def test_a_short_run_says_that_there_is_none(fake_run, tmp_path: Path, caplog) -> None:
    run = fake_run()
    run.step(profile.WARM_UP)
    with caplog.at_level("INFO", logger="dnabert_nemo"):
        run.finish()
    assert "profile: none, as it would begin after 5 steps" in caplog.text
    assert list(tmp_path.iterdir()) == []
    run = fake_run()
    run.step(profile.WARM_UP + 1)
    run.finish()
    assert title(tmp_path) == "rank 0, steps 6 to 6"


def test_what_writing_takes_is_not_trainings(fake_run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dnabert_nemo.model.step_rates.time.perf_counter", lambda: now[0])
    run = fake_run()
    run.step(7)
    now[0] = 1.0
    export = torch.profiler.profile.export_chrome_trace

    def slow(*arguments: Any) -> None:
        export(*arguments)
        now[0] += 100

    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", slow)
    run.step()
    assert run.module.rates.take()[1] == 1.0


def test_for_nsight_systems_ranges_and_marks_are_cudas(fake_run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for CUDA's calls, which no CPU has."""
    told: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: told.append("start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: told.append("stop"))
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", told.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: told.append("pop"))
    run = fake_run("nsys")
    run.step(12)
    run.finish()
    step = ["step", "optimizer", "pop", "pop"]
    wait = ["data wait", "pop"]
    assert told == ["start", *step, *wait, *step, *wait, *step, "stop"]


def test_nsight_systems_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.profile=nsys looks at what a GPU does.*: use true"):
        profiling("nsys", tmp_path)


@pytest.mark.parametrize("value", ["yes", "1", "null", "[5,8]"])
def test_another_value_is_refused(config, value: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.profile=.*: give true, false or nsys"):
        check_pretraining(config(f"trainer.profile={value}"))
