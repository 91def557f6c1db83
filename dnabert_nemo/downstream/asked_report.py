"""What a report is asked for, refused before any model is read if it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

from dnabert_nemo.downstream.report import FILES
from dnabert_nemo.downstream.splice_dataset import SpliceSplit
from dnabert_nemo.downstream.task_dataset import TaskSplit
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.folder import check_output

Part = TypeVar("Part", SpliceSplit, TaskSplit)


def check_asked(cfg: DictConfig) -> None:
    """Check what the config of a report says of it.

    Raises:
        ConfigError: a number is out of range, or `output_dir` cannot be written to.
    """
    for key, least in (("seed", 0), ("micro_batch_size", 1)):
        value = cfg[key]
        if type(value) is not int or value < least:
            raise ConfigError(f"{key}={value}: give a whole number of at least {least}")
    check_output(cfg.output_dir, FILES, overwrite=cfg.overwrite)


def asked_part(folder: str | Path, splits: Mapping[str, Part], name: str) -> Part:
    """Return the split that is reported on.

    Raises:
        ConfigError: the data set in `folder` has no such split, or nothing in it.
    """
    if name not in splits:
        raise ConfigError(f"split={name}: choose {', '.join(splits)}")
    if not len(splits[name].labels):
        filled = ", ".join(other for other, part in splits.items() if len(part.labels))
        raise ConfigError(f"split={name} is empty in {folder}: choose {filled}, or prepare it again with one")
    return splits[name]
