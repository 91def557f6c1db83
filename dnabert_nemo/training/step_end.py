"""What the ranks agree on at the end of a step: to stop, as a signal asked for it or a save failed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import LightningEnvironment

from dnabert_nemo.training.checkpoint_io import MegatronCheckpointIO
from dnabert_nemo.training.checkpoints import LatestCheckpoints

STOPPED = 75  # the exit code of a run that a signal stopped: EX_TEMPFAIL, "try again later"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
log = logging.getLogger("dnabert_nemo")


class StepEnd(Checkpoint):
    """Saves and ends the run with exit code 75 at the end of the step in which a rank was sent a signal.

    One signal to one rank is enough, and any number does no harm: at every step's end the ranks take the
    greatest of their flags, two small integers, in a group of their own on the CPU. The first rank that knows
    of a failed save ends the run in the same way, so that all end with its error.

    It is a `Checkpoint` to Lightning, which calls those last, in the order they are given in.
    """

    def __init__(self, latest: LatestCheckpoints) -> None:
        self._latest = latest
        self._signal = 0
        self._group: Any = None
        self._before_validation: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, which Lightning answers on each rank by itself; it resets them."""
        if dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is threading.main_thread():  # no other may
            for each in SIGNALS:
                signal.signal(each, self._note)
        # a validation begins at its first batch, also where the checkpoint counts those of the one before
        trainer.fit_loop.epoch_loop.val_loop.restarting = False

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._agree(trainer, lambda: self._latest.save_now(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep where training stands, in case a signal comes: what Lightning counts changes in between."""
        self._before_validation = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._agree(trainer, lambda: self._latest.save_now(trainer, self._before_validation))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Return when the last checkpoint is in place."""
        self._io(trainer).wait()

    def _note(self, signum: int, _: Any) -> None:
        self._signal = signum

    def _agree(self, trainer: Trainer, save: Callable[[], None]) -> None:
        io = self._io(trainer)
        flags = torch.tensor([self._signal, int(io.has_failed)])
        if self._group is not None:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group)
        signum, failed = flags.tolist()
        if failed:
            io.wait()  # raises
        io.finish_if_done()
        if signum and trainer.global_step != trainer.max_steps:  # then the run ends by itself
            save()
            io.wait()
            log.info(
                "stopped by %s after step %d, which is saved: the same command goes on from there",
                signal.Signals(signum).name,
                trainer.global_step,
            )
            raise SystemExit(_exit_code(trainer))

    def _io(self, trainer: Trainer) -> MegatronCheckpointIO:
        io = trainer.strategy.checkpoint_io
        assert isinstance(io, MegatronCheckpointIO)
        return io


def _exit_code(trainer: Trainer) -> int:
    """Return 75, but 0 on a process that Lightning started beside the user's: else it kills that."""
    started_by_us = isinstance(trainer.strategy.cluster_environment, LightningEnvironment)
    return 0 if started_by_us and trainer.global_rank > 0 else STOPPED
