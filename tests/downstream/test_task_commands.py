"""prepare_task, finetune and benchmark_task as a user calls them: what they print, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "DNABERT_NEMO_DATA"}
MODEL = {
    "seed": 1, "tokenizer": {"k": 3, "vocab_file": None}, "num_layers": 2, "hidden_size": 32,
    "ffn_hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 32, "hidden_dropout": 0.1,
    "attention_dropout": 0.1, "tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1,
    "sequence_parallel": False, "data": {"train": "elsewhere"}, "optim": {"lr": 1.0},
}  # fmt: skip


def run(folder: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [str(EXAMPLES / f"{script}.py"), *overrides]
    return commands.run(command, cwd=folder, env=ENVIRONMENT, timeout=300)


def write_table(path: Path, longest: int = 30) -> None:
    chance = np.random.default_rng(1)
    lines = ["sequence,label"]
    for at in range(90):
        middle = ("CCCCCC", "TTTTTT", "GGGGGG")[at % 3]
        ends = ["".join(chance.choice(list("ACGT"), chance.integers(2, longest // 2 - 2))) for _ in range(2)]
        lines.append(f"{ends[0]}{middle}{ends[1]},{'abc'[at % 3]}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of three classes, and a small encoder with its first weights."""
    from omegaconf import OmegaConf

    from dnabert_nemo.megatron.sizes import ParallelSizes
    from dnabert_nemo.model import DnabertModel

    folder = tmp_path_factory.mktemp("tasks")
    write_table(folder / "mine.csv")
    model = DnabertModel(OmegaConf.create(MODEL))
    model.build(ParallelSizes(), "fp32")
    model.save_to(str(folder / "tiny.nemo"))
    return folder


MINE = ("task=csv", "task.name=mine", "task.table.train=mine.csv")


def test_from_a_table_to_a_classifier_and_a_report(folder: Path) -> None:
    steps = ("trainer.max_steps=6", "trainer.val_check_interval=6", "trainer.log_every_n_steps=6")
    done = run(
        folder, "finetune", *MINE, "restore_from_path=tiny.nemo", *steps, "model.optim.sched.warmup_steps=1"
    )
    assert done.returncode == 0, done.stderr
    assert "train, what validation and test left: 24 a, 24 b, 24 c; 11 to 30 bases" in done.stdout
    assert "model: a, b, c on a frozen encoder" in done.stdout
    assert (folder / "datasets" / "mine" / "manifest.json").is_file()
    classifier = "runs/mine/checkpoints/mine.nemo"
    assert (folder / classifier).is_file()
    done = run(
        folder, "benchmark_task", f"restore_from_path={classifier}", "dataset_path=datasets/mine",
        "output_dir=report", "baselines=kmers",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report" / "report.json").read_text())
    assert list(report["rows"]) == [
        "mine",
        "logistic regression, counts of 6-mers",
        "majority class, no model",
    ]
    assert report["files"]["model mine"]["name"] == "mine.nemo"
    assert report["seeds"] == {"bootstrap and baselines": 1, "training of mine": 1234}
    assert "# Task mine" in done.stdout


def test_a_prepared_folder_is_trained_on_without_a_task(folder: Path) -> None:
    """And told of, where a sequence is longer than the model's positions."""
    write_table(folder / "long.csv", longest=80)
    prepared = run(
        folder, "prepare_task", "task=csv", "task.name=long", "task.table.train=long.csv", "output_dir=long"
    )
    assert prepared.returncode == 0, prepared.stderr
    assert prepared.stderr == ""
    done = run(folder, "finetune", "restore_from_path=tiny.nemo", "model.data.dataset_path=long", "name=long")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: long has a sequence of ")
    assert line.endswith(
        "bases, and the model takes 32 (max_position_embeddings=32): prepare it again with task.crop=32, "
        "which keeps the middle, or use a model with more positions"
    )
    assert not (folder / "runs" / "long").exists()


def test_without_a_validation_split_there_is_no_best_checkpoint(
    folder: Path, toy: tuple[Path, Path], prepare: Callable[..., Any], tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "splice", validation=(), window=32)
    given = [f"restore_from_path={folder / 'tiny.nemo'}", "model.data.dataset_path=splice", "name=x"]
    done = run(tmp_path, "finetune", *given)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert "model.data.dataset_path=splice: its validation split is empty" in line
    assert [path.name for path in tmp_path.iterdir()] == ["splice"]


def test_baselines_need_no_model_and_other_classes_are_told(folder: Path, splice_dir: Path) -> None:
    run(folder, "prepare_task", *MINE, "task.labels={a: x, b: y, c: z}", "output_dir=named")
    done = run(folder, "benchmark_task", "dataset_path=named", "output_dir=alone", "baselines=null")
    assert done.returncode == 0, done.stderr
    assert "| majority class, no model | 0.3333 " in (folder / "alone" / "report.md").read_text()
    done = run(folder, "benchmark_task", f"dataset_path={splice_dir}", "output_dir=no")
    assert done.returncode == 2
    assert "a splice data set: benchmark_splice.py reports on it" in done.stderr


@pytest.mark.parametrize(
    ("script", "overrides", "says"),
    [
        ("prepare_task", [], "You must specify 'task'"),
        ("prepare_task", ["task=csv"], "no value for task.name: pass task.name=VALUE"),
        (
            "prepare_task",
            ["task=gue/tf_9"],
            "no config 'task/gue/tf_9': choose csv, enhancer/iEnhancer2L, gue/",
        ),
        (
            "prepare_task",
            ["task=gue/tf_0"],
            "data_dir is null, where the files of task gue_tf_0 are: pass data_",
        ),
        ("prepare_task", ["task=gue/tf_0", "data_dir=here"], "here/gue/tf/0/train.csv.gz: no such file"),
        ("prepare_task", [*MINE, "task.corp=3"], "task.corp"),
        (
            "prepare_task",
            ["task=csv", "task.name=mine", "task.fasta=a.fa"],
            "task.fasta=a.fa: it has keys of its own: pass task.fasta.KEY=VALUE",
        ),
        ("prepare_task", [*MINE, "task.labels=[a,b]"], "task.labels=['a', 'b']: it has keys of its own"),
        (
            "prepare_task",
            [*MINE, "task.published={metric: mcc, source: x, rows: 3}"],
            "give metric (one of",
        ),
        ("benchmark_task", ["output_dir=r", "dataset_path=no", "seed=abc"], "seed=abc: give a whole number"),
        ("finetune", ["restore_from_path=x.nemo"], "datasets/finetune: no data set, or an unfinished one"),
        ("finetune", ["restore_from_path=x.nemo", "task=gue/tf_0"], "data_dir is null"),
        ("benchmark_task", ["output_dir=r", "dataset_path=no"], "no: no data set, or an unfinished one"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    script: str, overrides: list[str], says: str, tmp_path: Path
) -> None:
    done = run(tmp_path, script, *overrides)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_dnaberts_settings_are_those_of_its_readme() -> None:
    from dnabert_nemo.command import composed

    cfg = composed("dnaprom", ["restore_from_path=x.nemo"])
    assert (cfg.name, cfg.task.name) == ("gue_prom_core_all", "gue_prom_core_all")
    assert (cfg.model.optim.lr, cfg.model.optim.weight_decay, cfg.model.hidden_dropout) == (2e-4, 0.01, 0.1)
    assert (cfg.trainer.max_steps, cfg.model.optim.sched.warmup_steps) == (7400, 740)
    assert cfg.model.global_batch_size == 32
    assert not cfg.model.freeze_encoder


OTHERS = [("dna690", "gue_tf_0"), ("dnasplice", "gue_splice_reconstructed")]


@pytest.mark.parametrize(("name", "task"), OTHERS)
def test_its_other_tasks_take_five_passes_with_the_same_settings(
    name: str, task: str, data_dir: Path, tmp_path: Path
) -> None:
    from dnabert_nemo.command import composed

    cfg, prom = (composed(each, ["restore_from_path=x.nemo"]) for each in (name, "dnaprom"))
    assert cfg.task.name == task
    done = run(tmp_path, "prepare_task", f"task={cfg.task.name.replace('_', '/', 1)}", f"data_dir={data_dir}")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "datasets" / task / "manifest.json").read_text())
    train = sum(manifest["counts"]["train"].values())
    assert cfg.trainer.max_steps == 5 * (train // 32 + (train % 32 > 16))
    assert cfg.model.optim.sched.warmup_steps == cfg.trainer.max_steps // 10
    cfg.task, cfg.trainer, cfg.model.optim.sched = prom.task, prom.trainer, prom.model.optim.sched
    assert cfg.model == prom.model


def test_preparing_needs_no_torch() -> None:
    modules = ("prepare_task", "task_report", "task_baselines", "classifiers")
    imports = "; ".join(f"import dnabert_nemo.downstream.{module}" for module in modules)
    check = "import sys; print([name for name in ('torch', 'nemo', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{imports}; {check}"], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
