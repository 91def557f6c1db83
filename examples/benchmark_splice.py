"""Report how classifiers do on splice sites they have not seen, beside baselines on the same windows.

python examples/benchmark_splice.py --config-name benchmark_splice restore_from_path=splice.nemo
dataset_path=splice output_dir=report
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command, listed
from dnabert_nemo.downstream.asked_report import asked_part, check_asked
from dnabert_nemo.downstream.baselines_of_report import asked_baselines, baseline_probabilities
from dnabert_nemo.downstream.classifiers import files_by_name, model_probabilities
from dnabert_nemo.downstream.over_seeds import sites_over_seeds
from dnabert_nemo.downstream.report import report_context, report_rows, write_report
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("benchmark_splice")
def main(cfg: DictConfig) -> None:
    names, files = asked_baselines(cfg.baselines), files_by_name(listed(cfg.restore_from_path) or ())
    check_asked(cfg)
    dataset = load_splice_dataset(Path(cfg.dataset_path))
    windows = asked_part(cfg.dataset_path, dataset.splits, cfg.split)
    found, seeds = model_probabilities(dataset, windows, files, cfg.micro_batch_size)
    found |= baseline_probabilities(dataset, windows, names, seed=cfg.seed)
    rows = report_rows(windows, found, seed=cfg.seed)
    context = report_context(
        dataset,
        split=cfg.split,
        seeds={"bootstrap and baselines": cfg.seed, **seeds},
        command=COMMAND,
        files={f"model {name}": path for name, path in files.items()},
        over_seeds=sites_over_seeds(windows, found, seed=cfg.seed),
    )
    folder = write_report(Path(cfg.output_dir), rows, context, overwrite=cfg.overwrite)
    log.info("%s", (folder / "report.md").read_text())


if __name__ == "__main__":
    main()
