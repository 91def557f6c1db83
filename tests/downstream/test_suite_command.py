"""benchmark_suite as a user calls it: what it runs, what it leaves out the second time, what it refuses."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from omegaconf import OmegaConf

from dnabert_nemo.command import CONF
from dnabert_nemo.downstream.classifiers import files_by_name, model_probabilities
from dnabert_nemo.downstream.suite import Suite, datasets_by_name
from dnabert_nemo.downstream.task_dataset import load_dataset
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertClassifier, DnabertModel

SHAPE = {"num_layers": 1, "hidden_size": 16, "ffn_hidden_size": 32, "num_attention_heads": 2}
QUICK = (
    "trainer.max_steps=4", "trainer.val_check_interval=4", "model.optim.sched.warmup_steps=1",
    "exp_manager.create_tensorboard_logger=false",
)  # fmt: skip
OVERRIDES = f"overrides={json.dumps(QUICK)}"
ASKED = (
    "checkpoints=tiny.nemo", "datasets=datasets/mine", "output_dir=suite", "baselines=kmers",
    "random_seeds=[]",
)  # fmt: skip


def suite(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [str(CONF.parent / "examples" / "benchmark_suite.py"), *overrides]
    return commands.run(command, cwd=folder, timeout=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder of first weights and a prepared task of two classes."""
    from dnabert_nemo.downstream.prepare_task import prepare_task
    from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings

    folder = tmp_path_factory.mktemp("suite")
    chance = np.random.default_rng(1)
    lines = ["sequence,label"]
    for at in range(80):
        ends = ["".join(chance.choice(list("ACGT"), 12)) for _ in range(2)]
        lines.append(f"{ends[0]}{'CCCCC' if at % 2 else 'GTGTG'}{ends[1]},{at % 2}")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    (folder / "datasets").mkdir()
    prepare_task(
        TaskFiles({"train": folder / "mine.csv"}, {}), folder / "datasets" / "mine", TaskSettings("mine")
    )
    shape = {"tokenizer": {"k": 3, "vocab_file": None}, "max_position_embeddings": 32, **SHAPE}
    model = DnabertModel(OmegaConf.create({"seed": 5, **shape}))
    model.build(ParallelSizes(), "fp32")
    model.save_to(str(folder / "tiny.nemo"))
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """A suite of two seeds that has ended."""
    found = suite(folder, *ASKED, "seeds=[1,2]", OVERRIDES)
    assert found.returncode == 0, found.stderr
    return found


def test_every_encoder_is_trained_with_every_seed_and_ranked(folder: Path, done) -> None:
    board = json.loads((folder / "suite" / "leaderboard" / "leaderboard.json").read_text())
    assert {name: entrant["datasets"]["mine"]["models"] for name, entrant in board["entrants"].items()} == {
        "tiny": 2,
        "logistic regression, counts of 6-mers": 1,
        "majority class, no model": 1,
    }
    assert "# Leaderboard" in done.stdout
    report = json.loads((folder / "suite" / "reports" / "mine" / "report.json").read_text())
    models = ["tiny-seed1", "tiny-seed2"]
    assert list(report["rows"])[:2] == models
    assert [report["seeds"][f"training of {name}"] for name in models] == [1, 2]
    assert report["over_seeds"]["tiny"]["models"] == models
    assert "## Over seeds" in (folder / "suite" / "reports" / "mine" / "report.md").read_text()


def test_seeds_share_the_pass_of_their_encoder(folder: Path, done, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(folder / "datasets" / "mine")
    names, encode, passes = ("tiny-seed1", "tiny-seed2"), DnabertClassifier.encode, []
    files = {
        name: folder / "suite" / "runs" / "mine" / name / "checkpoints" / f"{name}.nemo" for name in names
    }
    monkeypatch.setattr(DnabertClassifier, "encode", lambda *given: passes.append(1) or encode(*given))
    together, _ = model_probabilities(dataset, dataset.splits["test"], files, 16)
    assert len(passes) == 1
    for name, file in files.items():
        alone, _ = model_probabilities(dataset, dataset.splits["test"], {name: file}, 16)
        assert np.array_equal(together[name], alone[name])
    assert not np.array_equal(*together.values())


def test_what_is_there_is_left_as_it_is_and_what_is_missing_made_again(folder: Path, done) -> None:
    made = folder / "suite" / "runs" / "mine" / "tiny-seed2" / "checkpoints" / "tiny-seed2.nemo"
    board = folder / "suite" / "leaderboard" / "leaderboard.json"
    kept = {path: path.stat().st_mtime_ns for path in (folder / "suite" / "runs").rglob("*.nemo")}
    rows = json.loads(board.read_text())["entrants"]
    made.unlink()  # as if the suite had been killed before it was written
    again = suite(folder, *ASKED, "seeds=[1,2]", OVERRIDES)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("there already") == 1
    found = {path: path.stat().st_mtime_ns for path in (folder / "suite" / "runs").rglob("*.nemo")}
    assert {path for path in kept if kept[path] != found[path]} == {made}
    assert json.loads(board.read_text())["entrants"] == rows


def test_a_run_that_was_asked_for_otherwise_is_not_taken_for_another(folder: Path, done) -> None:
    other = suite(folder, *ASKED, "seeds=[1,2]", 'overrides=["trainer.max_steps=5"]')
    assert other.returncode == 2
    assert "tiny-seed1 holds a run with another overrides: give another output_dir" in other.stderr


def test_two_do_not_work_in_one_folder(folder: Path, done) -> None:
    with open(folder / "suite" / ".lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        other = suite(folder, *ASKED)
    assert other.returncode == 2
    assert "output_dir=suite: another suite is at work there" in other.stderr


def test_a_command_that_fails_is_told_with_its_own_message(folder: Path) -> None:
    wrong = suite(folder, *ASKED[:2], "output_dir=other", 'overrides=["trainer.max_stepz=4"]')
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: mine, tiny-seed1: ")
    assert "trainer.max_stepz is no key of this config" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert (folder / "other" / "logs" / "mine-tiny-seed1.log").is_file()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("checkpoints=tiny.nemo", "datasets=datasets/none"), "no data set, or an unfinished one"),
        (("checkpoints=tiny.nemo", "tasks=[gue/none]"), "gue/none"),
        ((*ASKED[:2], "baselines=rule"), "'rule' is not known: choose from weights, one_hot, pairs,"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(folder: Path, overrides: tuple[str, ...], says: str) -> None:
    refused = suite(folder, *overrides, "output_dir=refused")
    assert refused.returncode == 2
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"checkpoints": {"a": Path("absent.nemo")}}, "checkpoints: absent.nemo: no such file"),
        ({"checkpoints": {}}, r"checkpoints=\[\]: give the .nemo file"),
        ({"datasets": {}}, r"tasks=\[\] and datasets=\[\] name nothing"),
        ({"seeds": (1, 1)}, r"seeds=\[1, 1\]: give different whole numbers"),
        ({"seeds": ()}, r"seeds=\[\]: give"),
        ({"seeds": (1.5,)}, r"seeds=\[1.5\]: give"),
        ({"random_seeds": (2, 2)}, r"random_seeds=\[2, 2\]: give different whole numbers"),
        ({"overrides": ("model.seed=1",)}, "model.seed is what the suite itself sets"),
    ],
)
def test_what_a_suite_cannot_be_is_told(folder: Path, changed: dict[str, Any], says: str) -> None:
    values: dict[str, Any] = {
        "checkpoints": {"tiny": folder / "tiny.nemo"}, "datasets": {"mine": folder / "datasets" / "mine"},
        "seeds": (1,), "random_seeds": (4, 5), "overrides": (), "baselines": (),
        "output_dir": folder / "suite", "examples": CONF.parent / "examples",
    }  # fmt: skip
    taking_part = {each.name: each.seeds for each in Suite(**values).entrants()}
    assert taking_part == {"tiny": (1,), "tiny-random": (4, 5)}
    with pytest.raises(ConfigError, match=says):
        Suite(**values | changed)


def test_names_that_rows_and_columns_go_by_differ() -> None:
    with pytest.raises(ConfigError, match="two have one name, which columns go by"):
        datasets_by_name([Path("a/one"), Path("b/one")])
    with pytest.raises(ConfigError, match=r"^checkpoints=.*two have one name, which rows go by"):
        files_by_name(["a/one.nemo", "b/one.nemo"], key="checkpoints")


def test_other_baselines_make_another_report_of_the_same_runs(folder: Path, done) -> None:
    given = tuple(each for each in ASKED if not each.startswith("baselines"))
    again = suite(folder, *given, "baselines=null", "seeds=[1,2]", OVERRIDES)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("there already") == 2
    board = json.loads((folder / "suite" / "leaderboard" / "leaderboard.json").read_text())
    assert list(board["entrants"]) == ["tiny", "majority class, no model"]
