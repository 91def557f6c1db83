"""Loggers by flag: a package that is missing, and what W&B is not told, are told before the run."""

from __future__ import annotations

import importlib.util

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.check import check_pretraining
from dnabert_nemo.training.loggers import nemos_settings


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Say which packages are installed."""

    def set_to(*names: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)

    return set_to


def test_the_default_needs_tensorboard_alone(config, installed) -> None:
    installed("tensorboard")
    check_pretraining(config())


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("create_mlflow_logger=true", "true needs the package mlflow, which is not installed: pip"),
        ("create_wandb_logger=true", "true needs the package wandb, which is not installed: pip"),
        ("create_csv_logger=1", r"exp_manager\.create_csv_logger=1: give true or false"),
        ("create_tensorboard_logger=null", r"create_tensorboard_logger=None: give true or false"),
    ],
)
def test_what_cannot_be_had_is_named(config, installed, override: str, says: str) -> None:
    installed("tensorboard")
    with pytest.raises(ConfigError, match=says):
        check_pretraining(config(f"exp_manager.{override}"))


def test_wandb_wants_a_project(config, installed) -> None:
    installed("tensorboard", "wandb", "mlflow")
    on = "exp_manager.create_wandb_logger=true"
    check_pretraining(config(on, "exp_manager.create_mlflow_logger=true"))
    with pytest.raises(ConfigError, match=r"wandb_logger_kwargs\.project is empty"):
        check_pretraining(config(on, "exp_manager.wandb_logger_kwargs.project=null"))


def test_nemo_is_not_told_of_the_csv() -> None:
    assert nemos_settings({"create_csv_logger": True, "name": "x"}) == {"name": "x"}
