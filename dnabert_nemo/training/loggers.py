"""Where a run's figures go beside train_log.txt: TensorBoard and a CSV, and by a flag W&B or MLflow."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dnabert_nemo.errors import ConfigError

# exp_manager's flag, and the package it takes; NeMo makes all of these loggers.
_PACKAGES = {
    "create_tensorboard_logger": "tensorboard",
    "create_wandb_logger": "wandb",
    "create_mlflow_logger": "mlflow",
}
CSV = "create_csv_logger"  # ours, as NeMo has none


def check_loggers(exp_manager: DictConfig) -> None:
    """Raise ConfigError for a flag that is none, or whose package is not installed or not told enough."""
    for flag in (*_PACKAGES, CSV):
        if not isinstance(exp_manager[flag], bool):
            raise ConfigError(f"exp_manager.{flag}={exp_manager[flag]}: give true or false")
    for flag, package in _PACKAGES.items():
        if exp_manager[flag] and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"exp_manager.{flag}=true needs the package {package}, which is not installed: "
                f"pip install {package}"
            )
    if exp_manager.create_wandb_logger:
        for key in ("name", "project"):
            if not exp_manager.wandb_logger_kwargs.get(key):
                raise ConfigError(f"exp_manager.wandb_logger_kwargs.{key} is empty: W&B needs one")


def nemos_settings(exp_manager: dict[str, Any]) -> dict[str, Any]:
    """Leave out what NeMo's exp_manager does not know."""
    return {key: value for key, value in exp_manager.items() if key != CSV}


def csv_logger(folder: Path) -> Any:
    """Make the logger of `folder`/metrics.csv; exp_manager moves that of an earlier start to run_N."""
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
