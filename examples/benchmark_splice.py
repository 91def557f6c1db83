"""Report how a classifier does on splice sites it has not seen, beside baselines on the same windows.

python examples/benchmark_splice.py --config-name benchmark_splice restore_from_path=splice.nemo
dataset_path=splice output_dir=report
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.downstream.baselines_of_report import asked_baselines, baseline_probabilities
from dnabert_nemo.downstream.report import report_context, report_rows, write_report
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("benchmark_splice")
def main(cfg: DictConfig) -> None:
    names = asked_baselines(cfg.baselines)
    dataset = load_splice_dataset(Path(cfg.dataset_path))
    windows = dataset.splits[cfg.split]
    from dnabert_nemo.model import DnabertClassifier, restore

    model = restore(Path(cfg.restore_from_path), DnabertClassifier)
    found = {Path(cfg.restore_from_path).stem: model.predict(windows.sequences, cfg.micro_batch_size).numpy()}
    found |= baseline_probabilities(dataset, windows, names, seed=cfg.seed)
    rows = report_rows(windows, found, seed=cfg.seed)
    context = report_context(
        dataset,
        split=cfg.split,
        seeds={"bootstrap and baselines": cfg.seed, "training": model.cfg.seed},
        command=COMMAND,
        files={"model": Path(cfg.restore_from_path)},
    )
    folder = write_report(Path(cfg.output_dir), rows, context, overwrite=cfg.overwrite)
    log.info("%s", (folder / "report.md").read_text())


if __name__ == "__main__":
    main()
