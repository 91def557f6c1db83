"""Every encoder on every data set with every seed: the runs of fine-tuning, then a report for each data set.

Each run is a command of its own, `finetune.py`, `benchmark_splice.py` or `benchmark_task.py`, so that it can
be repeated by itself; `leaderboard` puts the reports together.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dnabert_nemo.downstream import baselines_of_report, task_baselines
from dnabert_nemo.downstream.over_seeds import seeded_name
from dnabert_nemo.downstream.splice_dataset import SpliceDataset
from dnabert_nemo.downstream.task_dataset import MANIFEST, load_dataset
from dnabert_nemo.errors import ConfigError, TrainingError
from dnabert_nemo.shards.records import file_sha256

KNOWN = {"splice": list(baselines_of_report.BASELINES), "task": list(task_baselines.BASELINES)}
ALL_BASELINES = list(dict.fromkeys([*KNOWN["splice"], *KNOWN["task"]]))
ASKED = "asked.json"  # what a run was asked for: one that is there already must have been asked for the same

_log = logging.getLogger(__name__)


class Entrant(NamedTuple):
    """An encoder that takes part: a checkpoint's, or one of its shape with first weights; and its seeds."""

    name: str
    checkpoint: Path
    is_random: bool
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Suite:
    """What is run, and where it goes.

    Args:
        checkpoints: .nemo files of encoders by name.
        datasets: folders by name, as `prepare_splice` or `prepare_task` wrote them.
        seeds: of each checkpoint on each data set.
        random_seeds: of encoders of its shape with first weights, beside each checkpoint.
        overrides: of every run of fine-tuning.
        baselines: of the reports, each of which has those it knows.
        examples: where the commands are.

    Raises:
        ConfigError: nothing to run, a file that is not there, seeds that are no different numbers, or an
            override of what the suite sets.
    """

    checkpoints: Mapping[str, Path]
    datasets: Mapping[str, Path]
    seeds: tuple[int, ...]
    random_seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    baselines: tuple[str, ...]
    output_dir: Path
    examples: Path

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise ConfigError("checkpoints=[]: give the .nemo file of an encoder, or several")
        for path in self.checkpoints.values():
            if not path.is_file():
                raise ConfigError(f"checkpoints: {path}: no such file")
        if not self.datasets:
            raise ConfigError("tasks=[] and datasets=[] name nothing: give one of conf/task/, or a folder")
        for key, seeds in (("seeds", self.seeds), ("random_seeds", self.random_seeds)):
            are_numbers = all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
            if not are_numbers or len(set(seeds)) < len(seeds) or not self.seeds:
                raise ConfigError(f"{key}={list(seeds)}: give different whole numbers, such as [1,2,3]")
        for key in ("restore_from_path", "model.seed", "model.random_encoder", "model.data.dataset_path"):
            if any(override.lstrip("+").startswith(f"{key}=") for override in self.overrides):
                raise ConfigError(f"overrides: {key} is what the suite itself sets: leave it out")

    def entrants(self) -> list[Entrant]:
        """Return the encoders that take part, those with first weights after the others."""
        given = [Entrant(name, path, False, self.seeds) for name, path in self.checkpoints.items()]
        if not self.random_seeds:
            return given
        seeds = self.random_seeds
        return given + [Entrant(f"{each.name}-random", each.checkpoint, True, seeds) for each in given]


def datasets_by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Name folders of data sets by their own names.

    Raises:
        ConfigError: two have one name.
    """
    found = {folder.absolute().name: folder for folder in folders}
    if len(found) < len(folders):
        raise ConfigError(
            f"datasets={list(map(str, folders))}: two have one name, which columns go by: rename one"
        )
    return found


def run_suite(suite: Suite) -> Iterator[dict[str, Any]]:
    """Run what is not done yet; yields each data set's report once it is there.

    Raises:
        ConfigError: another suite is at work in the folder, or it holds a run that was asked for otherwise.
        FormatError: a folder is no data set.
        TrainingError: a command failed; its log tells why.
    """
    with _alone(suite.output_dir) as lock:
        for name, folder in suite.datasets.items():
            kind = "splice" if isinstance(load_dataset(folder), SpliceDataset) else "task"
            files = [
                _classifier(suite, name, kind, entrant, seed, lock)
                for entrant in suite.entrants()
                for seed in entrant.seeds
            ]
            yield _report(suite, name, kind, files, lock)


def _classifier(suite: Suite, dataset: str, kind: str, entrant: Entrant, seed: int, lock: int) -> Path:
    """Fine-tune one encoder, where that is not done; returns the classifier's .nemo file."""
    name, runs = seeded_name(entrant.name, seed), suite.output_dir / "runs" / dataset
    made = runs / name / "checkpoints" / f"{name}.nemo"
    command = [
        *_command(suite, "finetune", "--config-name", "splice" if kind == "splice" else "finetune"),
        f"restore_from_path={entrant.checkpoint}",
        f"model.data.dataset_path={suite.datasets[dataset]}",
        f"model.seed={seed}",
        f"model.random_encoder={str(entrant.is_random).lower()}",
        f"name={name}",
        f"exp_manager.exp_dir={runs}",
        f"model.data.features_dir={suite.output_dir / 'features'}",
        *suite.overrides,
    ]
    asked = {
        "checkpoint": file_sha256(entrant.checkpoint),
        "dataset": file_sha256(suite.datasets[dataset] / MANIFEST),
        "overrides": list(suite.overrides),
        "random_encoder": entrant.is_random,
        "seed": seed,
    }
    _check_asked(runs / name / ASKED, asked)
    if made.is_file():
        _log.info("%s, %s: there already", dataset, name)
    else:
        _run(command, suite.output_dir / "logs" / f"{dataset}-{name}.log", f"{dataset}, {name}", lock)
    return made


def _check_asked(path: Path, asked: dict[str, Any]) -> None:
    """Note what a run is asked for, or hold it against what it was asked for before."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key, value in asked.items() if before.get(key) != value]
    if other:
        raise ConfigError(
            f"{path.parent} holds a run with another {other[0].replace('_', ' ')}: give another output_dir, "
            "or delete that folder"
        )


def _report(suite: Suite, dataset: str, kind: str, files: Sequence[Path], lock: int) -> dict[str, Any]:
    """Report on a data set, where no report on these files is there, and return it."""
    folder = suite.output_dir / "reports" / dataset
    path = folder / "report.json"
    report = _read_report(path)
    baselines = f"baselines=[{','.join(name for name in suite.baselines if name in KNOWN[kind])}]"
    if report is None or not _is_of(report, files, suite.datasets[dataset], baselines):
        command = [
            *_command(suite, f"benchmark_{kind}"),
            f"restore_from_path=[{','.join(map(str, files))}]",
            f"dataset_path={suite.datasets[dataset]}",
            f"output_dir={folder}",
            baselines,
            "overwrite=true",
        ]
        _run(command, suite.output_dir / "logs" / f"{dataset}-report.log", f"{dataset}, report", lock)
        report = _read_report(path)
        assert report is not None
    return report


def _read_report(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _is_of(report: Mapping[str, Any], files: Sequence[Path], dataset: Path, baselines: str) -> bool:
    """Tell whether a report is on these classifiers and this data set, with these baselines."""
    hashes = [file["sha256"] for role, file in report["files"].items() if role.startswith("model ")]
    manifest = json.loads((dataset / MANIFEST).read_text(encoding="utf-8"))
    return (
        hashes == [file_sha256(file) for file in files]
        and report["dataset"]["files"] == manifest["files"]
        and baselines in shlex.split(report["command"])
    )


def _command(suite: Suite, name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(suite.examples / f"{name}.py"), *arguments]


def _run(command: Sequence[str], log: Path, what: str, lock: int) -> None:
    """Run a command, all that it says going into its log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _log.info("%s: %s", what, shlex.join(["python", *command[1:]]))
    with open(log, "ab") as file:  # the lock is the command's too, so that none starts beside one left behind
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, pass_fds=(lock,))
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise TrainingError(f"{what}: {last.removeprefix('error: ')} (its log: {log})")


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the folder for this process and the commands it runs, so that no other works in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"output_dir={folder}: another suite is at work there, or the last command of one that was "
                "stopped: wait until it has ended"
            ) from None
        yield file.fileno()
