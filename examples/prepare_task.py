"""Labelled sequences, in tables or FASTA, to the data set of a task: `finetune.py` reads what it writes.

python examples/prepare_task.py task=gue/prom_core_all data_dir=DATA
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command
from dnabert_nemo.downstream.prepare_task import prepare_task
from dnabert_nemo.downstream.task_settings import task_of


@command("prepare_task")
def main(cfg: DictConfig) -> None:
    """Check the config, then write the data set."""
    config = OmegaConf.to_container(cfg, resolve=True)
    files, settings = task_of(config["task"])
    prepare_task(files, Path(config["output_dir"]), settings, overwrite=config["overwrite"])


if __name__ == "__main__":
    main()
