"""`python -m dnabert_nemo tune`: its search with made-up figures, what it prints and refuses, real trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dnabert_nemo.__main__ import main
from dnabert_nemo.errors import ConfigError, TrainingError
from dnabert_nemo.training import tune as module
from dnabert_nemo.training import tune_process
from dnabert_nemo.training.free_memory import free_memory
from dnabert_nemo.training.tune import Recommended, Tried, Tuning, measured, prepare, recommend, tune
from dnabert_nemo.training.tune_process import Request

GIB = 2**30
SIZES = [1, 2, 4, 8, 16, 32]


class Device:
    """Stands for the processes of trials: a row takes a GiB and more rows are faster, up to 4."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.capability = [8, 0]  # Ampere, as JSON has it
        self.asked: list[int] = []

    def run(self, request: Request, most_resident: int | None = None) -> dict[str, Any]:
        if request.rows == 0:
            return {"name": "a made-up GPU", "memory": self.memory, "capability": self.capability}
        self.asked.append(request.rows)
        peak = request.rows * GIB
        if peak > (request.memory or 0):
            return {"fits": False}
        return {"fits": True, "peak": peak, "tokens_per_second": 1000.0 * min(request.rows, 4)}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Device]:
    """Put a device of so many GiB in place of this one."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def make(gib: float) -> Device:
        made = Device(int(gib * GIB))
        monkeypatch.setattr(module, "run", made.run)
        return made

    return make


@pytest.fixture
def tuning(device: Callable[[float], Device]) -> Tuning:
    device(40)
    return prepare("dnabert_86m", ["model.global_batch_size=32"], None)


@pytest.mark.parametrize("start", SIZES)
def test_the_search_ends_at_the_largest_that_fits(tuning: Tuning, start: int) -> None:
    for most in range(1, 40):
        asked: list[int] = []

        def measure(rows: int, most: int = most, asked: list[int] = asked) -> Tried:
            asked.append(rows)
            return Tried(rows, rows, rows <= most, rows, 1000.0 * rows)

        found = recommend(SIZES, start, measure, replace(tuning, memory=10**6))
        best = max(size for size in SIZES if size <= most)
        assert found == Recommended(best, (), best)
        assert len(asked) == len(set(asked))
        assert best == 32 or 2 * best in asked  # the next one was tried


def test_sizes_between_doublings_are_found_by_bisection(tuning: Tuning) -> None:
    asked: list[int] = []
    sizes = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40, 60, 120]

    def measure(rows: int) -> Tried:
        asked.append(rows)
        return Tried(rows, rows, rows <= 15, rows, 1.0 * rows)

    assert recommend(sizes, 4, measure, replace(tuning, memory=10**6)).rows == 15
    assert asked[:3] == [4, 8, 20]
    assert len(asked) <= 7


def test_what_is_close_to_the_limit_fits_but_is_not_recommended(tuning: Tuning) -> None:
    figures = {1: (100, 50.0), 2: (200, 99.0), 4: (500, 100.0), 8: (950, 101.0)}
    found = recommend([1, 2, 4, 8], 1, lambda n: Tried(n, n, True, *figures[n]), replace(tuning, memory=1000))
    assert found == Recommended(rows=4, as_fast=(2,), largest=8)
    alone = recommend([1], 1, lambda n: Tried(n, n, True, 999, 1.0), replace(tuning, memory=1000))
    assert alone == Recommended(1, (), 1)


def test_it_starts_from_the_plan(device: Callable[[float], Device]) -> None:
    small, large = device(20), device(1000)
    assert prepare("dnabert_86m", ["model.global_batch_size=8"], 20 * GIB).predicted in (2, 4)
    assert prepare("dnabert_86m", ["model.global_batch_size=8"], None).predicted == 8
    assert prepare("dnabert_86m", [], GIB).predicted == 1
    assert small.asked == large.asked == []


def test_the_table_and_what_to_use(device: Callable[[float], Device], capsys) -> None:
    made = device(10.5)
    assert main(["tune", "model.global_batch_size=64", "trainer.devices=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dnabert_86m, 86,139,776 parameters, on a made-up GPU, 10.50 GiB"
    assert lines[1].startswith("a step: 32 rows of 8,192 tokens on a rank; planned to fit: ")
    table = {line.split()[0]: line.split()[1:] for line in lines[4 : 4 + len(made.asked)]}
    assert table["8"] == ["65,536", "8.00", "4,000", "yes"]
    assert table["16"] == ["131,072", "no"]
    assert table["4"] == ["32,768", "4.00", "4,000", "yes"]
    assert "as fast, within 2 %, in less memory: 4" in lines
    assert any(line.startswith("with 2 data ranks a rank holds 0.48 GiB less") for line in lines)
    assert lines[-1] == "use: model.micro_batch_size=8"


def test_json_is_in_bytes(device: Callable[[float], Device], capsys) -> None:
    device(40)
    assert main(["tune", "--json", "--device-memory", "8.5GiB", "model.global_batch_size=32"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"] == {"model.micro_batch_size": 4}
    assert (found["largest_that_fits"], found["memory"]) == (8, round(8.5 * GIB))
    assert found["tried"][-1] == {
        "rows": 16,
        "tokens": 16 * 8192,
        "fits": False,
        "peak": None,
        "tokens_per_second": None,
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config-name", "splice"], "--config-name splice is no config of pre-training"),
        (["model.hiden_size=64"], "model.hiden_size is no key of this config"),
        (["--device-memory", "80"], "--device-memory 80: give a size such as 80GB or 80GiB"),
        (["--device-memory", "0.5GB"], "model.micro_batch_size=1 does not fit 0.47 GiB: "),
        (["--config-name", "nope"], "no config 'nope': choose benchmark_checkpoint, "),
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
        (["trainer.precision=fp8-mixed"], "trainer.precision=fp8-mixed"),
        (["model.kernels=apex"], "model.kernels=apex: apex is not installed"),
        (["trainer.devices=3"], "model.global_batch_size=8 is not a multiple of"),
        (
            ["model.tensor_model_parallel_size=2", "trainer.devices=2"],
            "model.tensor_model_parallel_size=2: tune measures one rank by itself, with the whole model: ",
        ),
        (["model.context_parallel_size=2", "trainer.devices=2"], "model.context_parallel_size=2: tune"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    device: Callable[[float], Device], arguments: list[str], says: str, capsys
) -> None:
    device(40)
    assert main(["tune", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_a_config_of_ones_own_is_tuned(device: Callable[[float], Device], tmp_path: Path, capsys) -> None:
    device(40)
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "own.yaml").write_text("# @package _global_\nmodel:\n  global_batch_size: 2\n")
    arguments = ["tune", "--json", "--config-dir", str(tmp_path), "hardware=own"]
    assert main(arguments) == 0
    assert [each["rows"] for each in json.loads(capsys.readouterr().out)["tried"]] == [1, 2]


def test_under_a_launcher_it_is_refused(device, monkeypatch: pytest.MonkeyPatch) -> None:
    device(40)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start it without torchrun"):
        prepare("dnabert_86m", [], None)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_free_memory_is_that_of_the_narrowest_control_group(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().available
    own = tmp_path / "own"
    assert free_memory(tmp_path, own) == pytest.approx(machine, rel=0.2)
    own.write_text("0::/job/step\n")
    write(tmp_path / "job", memory__max="1000\n", memory__current="700\n", memory__stat="inactive_file 100\n")
    write(tmp_path / "job" / "step", memory__max="max\n", memory__current="5", memory__stat="inactive_file 0")
    assert free_memory(tmp_path, own) == 400
    write(tmp_path / "job" / "step", memory__max="60\n")
    assert free_memory(tmp_path, own) == 55
    first = {"memory__limit_in_bytes": "90", "memory__usage_in_bytes": "50"}
    write(tmp_path / "v1" / "memory" / "job", **first, memory__stat="total_inactive_file 5\ncache 1")
    own.write_text("3:cpu,cpuacct:/x\n4:memory:/job/step\n")
    assert free_memory(tmp_path / "v1", own) == 45


def request(rows: int, **changed: Any) -> Request:
    given: dict[str, Any] = {"config_name": "dnabert_tiny", "overrides": [], "config_dir": None}
    given |= {"micro_batches": 1, "memory": None, "result": ""}
    return Request(**{**given, "rows": rows, **changed})


def test_a_trial_that_holds_too_much_is_ended() -> None:
    assert tune_process.run(request(1), most_resident=60 * 10**6) == {"fits": False}


def test_a_trial_that_fails_for_another_reason_says_so() -> None:
    with pytest.raises(TrainingError, match=r"a trial of model.micro_batch_size=1 failed: .*num_layerz"):
        tune_process.run(request(1, overrides=["model.num_layerz=1"]))


SMALL = (
    "model.num_layers=2",
    "model.hidden_size=64",
    "model.ffn_hidden_size=2048",
    "model.data.tokens_per_row=8192",
    "model.data.sequence_length=128",
    "model.global_batch_size=2",
    "model.hidden_dropout=0.0",
)


def test_real_trials_end_at_what_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit half way between what one row takes and what two take is met by one alone."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    tuning = prepare("dnabert_tiny", SMALL, None)
    assert not tuning.on_gpu
    assert tuning.device.startswith("a CPU, ")
    one, two = measured(tuning, 1), measured(tuning, 2)
    assert one.fits and one.tokens == 8192
    assert one.peak is not None and one.peak > 0.3 * GIB
    assert one.tokens_per_second is not None and one.tokens_per_second > 0
    assert two.peak is not None and two.peak > one.peak + GIB // 20

    tried: list[Tried] = []
    found = tune(replace(tuning, memory=(one.peak + two.peak) // 2), tried.append)
    assert found == Recommended(1, (), 1)
    assert {each.rows: each.fits for each in tried} == {1: True, 2: False}
