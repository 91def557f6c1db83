"""Which checkpoints a run keeps: what it finds in its folder at a start, in whatever state a kill left it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training import build
from dnabert_nemo.training.checkpoints import BestCheckpoints, Checkpoints, LatestCheckpoints


def started(callback: Checkpoints, folder: Path, *names: str, step: int = 9) -> list[str]:
    """Start a run in a folder with these checkpoints, and return which of them are deleted."""
    for name in names:
        (folder / name).mkdir()
    removed: list[str] = []
    strategy = SimpleNamespace(broadcast=lambda each: each, remove_checkpoint=removed.append)
    trainer: Any = SimpleNamespace(is_global_zero=True, strategy=strategy, global_step=step)
    callback.on_train_start(trainer, None)  # type: ignore[arg-type]
    return [Path(path).name for path in removed]


def kept(callback: Checkpoints) -> dict[str, float]:
    return {Path(path).name: float(score) for path, score in callback.best_k_models.items()}


def test_the_last_two_are_kept_and_others_left_alone(tmp_path: Path) -> None:
    latest = LatestCheckpoints(tmp_path, 2)
    others = ("val_loss=1.0000-step=2.ckpt", "step=8.ckpt.damaged", "mine.ckpt")
    assert started(latest, tmp_path, "step=9.ckpt", "step=10.ckpt", "step=6.ckpt", *others) == ["step=6.ckpt"]
    assert kept(latest) == {"step=10.ckpt": 10, "step=9.ckpt": 9}
    assert Path(latest.kth_best_model_path).name == "step=9.ckpt"
    assert latest._last_global_step_saved == 9


@pytest.mark.parametrize(
    ("mode", "removed"), [("min", "val_loss=3.0000-step=3.ckpt"), ("max", "val_loss=1.0000-step=1.ckpt")]
)
def test_the_best_are_kept(tmp_path: Path, mode: str, removed: str) -> None:
    best = BestCheckpoints(tmp_path, monitor="val_loss", mode=mode, save_top_k=2)
    names = [f"val_loss={n}.0000-step={n}.ckpt" for n in (2, 1, 3)]
    assert started(
        best, tmp_path, *names, "step=9.ckpt", "val_loss=bad-step=1.ckpt", "acc=9.0-step=4.ckpt"
    ) == [removed]
    assert {*kept(best)} == {*names} - {removed}


def test_scores_are_exact_where_the_checkpoint_tells_them_wherever_it_is_now(tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path, monitor="val_loss", mode="min", save_top_k=1)
    scores = {f"/elsewhere/val_loss=1.0000-step={n}.ckpt": torch.tensor(1 + n * 1e-6) for n in (3, 2)}
    best.load_state_dict({"best_k_models": scores})
    assert started(best, tmp_path, *(Path(path).name for path in scores)) == ["val_loss=1.0000-step=3.ckpt"]
    assert kept(best)["val_loss=1.0000-step=2.ckpt"] == pytest.approx(1 + 2e-6, abs=1e-7)


def test_what_is_gone_is_not_counted(tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path, monitor="val_loss", mode="min", save_top_k=1)
    best.load_state_dict(
        {"best_k_models": {str(tmp_path / "val_loss=1.0000-step=2.ckpt"): torch.tensor(1.0)}}
    )
    assert started(best, tmp_path) == []
    assert kept(best) == {}


def test_a_new_run_over_the_checkpoints_of_another_is_refused(config, tmp_path: Path) -> None:
    (tmp_path / "dnabert_86m" / "checkpoints" / "step=9.ckpt").mkdir(parents=True)
    cfg = config(f"exp_manager.exp_dir={tmp_path}", "exp_manager.resume_if_exists=false")
    with pytest.raises(
        ConfigError, match=r"resume_if_exists=false, but .* has checkpoints of a run, step=9.ckpt"
    ):
        build.trainer(cfg)
