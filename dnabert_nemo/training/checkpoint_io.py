"""Lightning's CheckpointIO over Megatron's checkpoints, which what Lightning keeps goes along with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import checkpoint as megatron_checkpoint
from dnabert_nemo.megatron.checkpoint_saving import Saving
from dnabert_nemo.megatron.optimizer import MegatronAdamW

# Lightning's record of the config; it holds classes, and the run's config is the command's to give again.
_NOT_KEPT = ("hyper_parameters", "hparams_name", "hparams_type", "datamodule_hyper_parameters")
_LAST_WAIT = 60.0  # seconds for ranks that may be gone
log = logging.getLogger("dnabert_nemo")


class MegatronCheckpointIO(CheckpointIO):
    """Saves and loads what `attach` was given; every rank calls everything but `remove_checkpoint`.

    Args:
        in_background: a save returns when the state has been copied, and training goes on while it is
            written. What must be deleted is deleted when the new one is in place.
    """

    def __init__(self, *, in_background: bool) -> None:
        self.in_background = in_background
        self._saving: Saving | None = None
        self._superseded: list[Path] = []

    def attach(self, stage: torch.nn.Module, optimizer: MegatronAdamW) -> None:
        """Take what is saved and loaded."""
        self._stage, self._optimizer = stage, optimizer

    @property
    def has_failed(self) -> bool:
        """Whether this rank knows of a save that failed, which `wait` raises on every rank."""
        return self._saving is not None and self._saving.has_failed

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save, once the save before this one is in place."""
        self.wait()
        progress = {key: value for key, value in checkpoint.items() if key not in _NOT_KEPT}
        self._saving = megatron_checkpoint.begin(
            Path(path), self._stage, self._optimizer, progress, copy=self.in_background
        )
        if not self.in_background:
            self.wait()

    def load_checkpoint(self, path: str | Path, map_location: Any = None) -> dict[str, Any]:
        """Load a checkpoint, or the newest one that is whole in a folder of them."""
        path = Path(path)
        is_one = path.suffix == ".ckpt"
        chosen = path if is_one else megatron_checkpoint.choose(path)
        log.info("resuming from %s", chosen)
        return megatron_checkpoint.load(chosen, self._stage, self._optimizer, is_checked=not is_one)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, on the first rank, once the one being written is in place."""
        if self._saving is None:
            megatron_checkpoint.remove(Path(path))
        else:
            self._superseded.append(Path(path))

    def finish_if_done(self) -> None:
        """Delete what the checkpoint that was being written replaces, if it is in place by now."""
        if self._saving is not None and self._saving.is_done and not self._saving.has_failed:
            self.wait()

    def wait(self, at_most: float | None = None) -> None:
        """Return when nothing is being written any more.

        Raises:
            CheckpointError: what was being written could not be; nothing is deleted then.
        """
        saving, self._saving = self._saving, None
        superseded, self._superseded = self._superseded, []
        if saving is not None:
            saving.wait(at_most)
        for path in superseded:
            megatron_checkpoint.remove(path)

    def on_exception(self) -> None:
        """Let what is being written be finished before the run ends of another error."""
        try:
            self.wait(_LAST_WAIT)
        except CheckpointError as error:
            log.warning("%s", error)

    def teardown(self) -> None:
        """Return when nothing is being written any more."""
        self.wait()
