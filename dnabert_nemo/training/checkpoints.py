"""Which checkpoints a run keeps: the best by a metric, and the last two; `checkpoint_io` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dnabert_nemo.megatron import checkpoint_folder


class Checkpoints(ModelCheckpoint):
    """Lightning's best k, which are the best k also of a run that was killed, resumed or moved.

    What is kept is read off the folder at every start: what a checkpoint tells of the others was so when it
    was written, and a kill can come between writing one and deleting another.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str, save_top_k: int, **settings: Any) -> None:
        self._known: dict[str, float] = {}
        super().__init__(
            dirpath=folder,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            enable_version_counter=False,  # one of the same name is of the same step, and replaced
            **settings,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the exact scores of the checkpoints that were there; a name has four decimals."""
        self._known = {Path(path).name: float(score) for path, score in state_dict["best_k_models"].items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from the checkpoints that are there, and delete those a kill left beyond k."""
        super().on_train_start(trainer, pl_module)
        found = self._listed() if trainer.is_global_zero else []
        scores: dict[str, float] = dict(trainer.strategy.broadcast(found))
        if self.save_top_k == 0 or not scores:
            return
        ranked = sorted(scores, key=scores.__getitem__, reverse=self.mode == "max")
        kept = ranked if self.save_top_k < 0 else ranked[: self.save_top_k]
        for path in ranked[len(kept) :]:
            self._remove_checkpoint(trainer, path)
        self.best_k_models = {path: torch.tensor(scores[path]) for path in kept}
        self.best_model_path, self.kth_best_model_path = kept[0], kept[-1]
        self.best_model_score, self.kth_value = self.best_k_models[kept[0]], self.best_k_models[kept[-1]]
        if any(path.endswith(f"step={trainer.global_step}.ckpt") for path in kept):
            self._last_global_step_saved = trainer.global_step

    def _listed(self) -> list[tuple[str, float]]:
        assert self.dirpath is not None
        listed = []
        for each in checkpoint_folder.finished(Path(self.dirpath)):
            score = self._known.get(each.name, self.score_of(each))
            if score is not None:
                listed.append((str(each.path), score))
        return listed

    def score_of(self, found: checkpoint_folder.Finished) -> float | None:
        """Return what a checkpoint is ranked by, as far as its name tells, None for one of another kind."""
        assert self.monitor is not None
        return found.score(self.monitor)

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Lightning would keep the one a run goes on from for good, so each start would leave one more."""
        return previous != current


class BestCheckpoints(Checkpoints):
    """Keeps the best k by a metric of validation."""

    def __init__(self, folder: Path, *, monitor: str, mode: str, save_top_k: int) -> None:
        filename = f"{monitor}={{{monitor}:.4f}}-step={{step}}"
        super().__init__(folder, monitor=monitor, mode=mode, save_top_k=save_top_k, filename=filename)


class LatestCheckpoints(Checkpoints):
    """Keeps the last two checkpoints, every n steps and at the end, to start again from."""

    def __init__(self, folder: Path, every_n_train_steps: int) -> None:
        self._state: dict[str, Any] | None = None
        super().__init__(
            folder,
            monitor="step",
            mode="max",
            save_top_k=2,
            filename="step={step}",
            every_n_train_steps=every_n_train_steps,
        )

    def score_of(self, found: checkpoint_folder.Finished) -> float | None:
        """Rank by step those that name no metric."""
        return None if found.is_scored else float(found.step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Save every n steps; the last at the end, or a start after a kill would leave out its validation."""
        if trainer.global_step != trainer.max_steps:
            super().on_train_batch_end(trainer, pl_module, *batch)

    def save_now(self, trainer: Trainer, state: dict[str, Any] | None = None) -> None:
        """Save this step too, unless it has been; with Lightning's state as it was then, or as it is."""
        if trainer.global_step > self._last_global_step_saved:
            self._state = state
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
            self._state = None

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if self._state is None:
            super()._save_checkpoint(trainer, filepath)
        else:
            trainer.strategy.save_checkpoint(self._state, filepath)
            self._last_global_step_saved = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step too."""
        self.save_now(trainer)
