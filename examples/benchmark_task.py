"""Report how classifiers do on a task's sequences that they have not seen, beside baselines on the same ones.

python examples/benchmark_task.py restore_from_path=gue_tf_0.nemo dataset_path=datasets/gue_tf_0
output_dir=report
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command, listed
from dnabert_nemo.downstream.asked_report import asked_part, check_asked
from dnabert_nemo.downstream.baselines_of_report import asked_baselines
from dnabert_nemo.downstream.classifiers import files_by_name, model_probabilities
from dnabert_nemo.downstream.over_seeds import classes_over_seeds
from dnabert_nemo.downstream.report import report_context
from dnabert_nemo.downstream.task_baselines import BASELINES, task_probabilities
from dnabert_nemo.downstream.task_dataset import load_task_dataset
from dnabert_nemo.downstream.task_report import task_rows, write_task_report

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("benchmark_task")
def main(cfg: DictConfig) -> None:
    names = asked_baselines(cfg.baselines, BASELINES)
    files = files_by_name(listed(cfg.restore_from_path) or ())
    check_asked(cfg)
    dataset = load_task_dataset(Path(cfg.dataset_path))
    part = asked_part(cfg.dataset_path, dataset.splits, cfg.split)
    found, seeds = model_probabilities(dataset, part, files, cfg.micro_batch_size)
    found |= task_probabilities(dataset, part, names, seed=cfg.seed)
    rows = task_rows(part, found, dataset.labels, seed=cfg.seed)
    context = report_context(
        dataset,
        split=cfg.split,
        seeds={"bootstrap and baselines": cfg.seed, **seeds},
        command=COMMAND,
        files={f"model {name}": path for name, path in files.items()},
        over_seeds=classes_over_seeds(part, found, seed=cfg.seed),
    )
    folder = write_task_report(Path(cfg.output_dir), rows, context, overwrite=cfg.overwrite)
    log.info("%s", (folder / "report.md").read_text())


if __name__ == "__main__":
    main()
