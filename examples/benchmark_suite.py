"""Fine-tune encoders on tasks with several seeds each, report on every task, and rank them in one table.

    python examples/benchmark_suite.py "checkpoints=[a.nemo,b.nemo]" "tasks=[gue/tf_0]" output_dir=suite

The same command again goes on where it was stopped.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dnabert_nemo.command import command, composed, listed
from dnabert_nemo.downstream.baselines_of_report import asked_baselines
from dnabert_nemo.downstream.classifiers import files_by_name
from dnabert_nemo.downstream.leaderboard import FILES, write_leaderboard
from dnabert_nemo.downstream.prepare_task import prepare_if_missing
from dnabert_nemo.downstream.suite import ALL_BASELINES, Suite, datasets_by_name, run_suite
from dnabert_nemo.downstream.task_settings import task_of

COMMAND = shlex.join(["python", *sys.argv])
log = logging.getLogger("dnabert_nemo")


@command("benchmark_suite")
def main(cfg: DictConfig) -> None:
    output_dir = Path(cfg.output_dir)
    tasks = {output_dir / "datasets" / task.replace("/", "_"): task for task in listed(cfg.tasks) or ()}
    suite = Suite(
        files_by_name(listed(cfg.checkpoints) or (), key="checkpoints"),
        datasets_by_name([*tasks, *map(Path, listed(cfg.datasets) or ())]),
        seeds=_seeds(cfg.seeds),
        random_seeds=_seeds(cfg.random_seeds),
        overrides=listed(cfg.overrides) or (),
        baselines=tuple(asked_baselines(cfg.baselines, ALL_BASELINES)),
        output_dir=output_dir,
        examples=Path(os.path.relpath(Path(__file__).parent)),
    )
    for folder, name in tasks.items():
        task = composed("prepare_task", [f"task={name}", f"data_dir={cfg.data_dir}"]).task
        prepare_if_missing(*task_of(OmegaConf.to_container(task, resolve=True)), folder)
    reports = {}
    for dataset, report in zip(suite.datasets, run_suite(suite), strict=True):
        reports[dataset] = report
        board = output_dir / "leaderboard"
        write_leaderboard(board, reports, command=COMMAND, seeds=suite.seeds)
        log.info("%s", (board / FILES[1]).read_text())


def _seeds(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, ListConfig) else (given,)


if __name__ == "__main__":
    main()
