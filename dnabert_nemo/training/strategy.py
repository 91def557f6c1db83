"""A Lightning strategy: Lightning launches and ranks the processes, Megatron does everything between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.checkpoint_io import MegatronCheckpointIO


class MegatronStrategy(DDPStrategy):
    """Starts Megatron's groups over the launched processes, and saves on every rank.

    Args:
        model_precision: fp32, bf16 or fp16, of the model's own weights; Lightning itself casts nothing.
        kernels: those that the model's layers are made of.
        clip_grad: the norm to which the gradient over all ranks is clipped, 0 for none.
        save_in_background: training goes on while a checkpoint is written.
    """

    checkpoint_io: MegatronCheckpointIO

    def __init__(
        self,
        sizes: ParallelSizes,
        *,
        seed: int,
        model_precision: str,
        kernels: Kernels,
        clip_grad: float,
        save_in_background: bool = False,
    ) -> None:
        super().__init__(
            process_group_backend="nccl" if torch.cuda.is_available() else "gloo",
            checkpoint_io=MegatronCheckpointIO(in_background=save_in_background),
        )
        self.sizes, self.seed = sizes, seed
        self.model_precision, self.kernels, self.clip_grad = model_precision, kernels, clip_grad

    def setup_distributed(self) -> None:
        """Join the process group, then start Megatron's groups within it."""
        super().setup_distributed()
        if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.num_processes))
        topology.start(self.sizes, self.seed)

    def setup(self, trainer: Trainer) -> None:
        """Make the optimizer, and say what checkpoints are of.

        Raises:
            CheckpointError: some ranks see checkpoints to resume from, and others do not.
        """
        super().setup(trainer)
        module: Any = self.lightning_module
        self.checkpoint_io.attach(module.bert, module.optimizer)
        resuming: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(resuming, trainer.ckpt_path is not None)
        if len(set(resuming)) > 1:
            raise CheckpointError(
                f"exp_manager.exp_dir: of {len(resuming)} ranks, {sum(resuming)} see checkpoints to resume "
                "from: name a folder that all machines share, and start again"
            )

    def configure_ddp(self) -> None:
        """Nothing: the model wraps itself in Megatron's own data parallelism."""

    def _setup_model(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Weights and optimizer must exist before a checkpoint can be read into them."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Nothing: weights go straight from the ranks to the checkpoint."""
        return {}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Nothing: the optimizer's state goes straight from the ranks to the checkpoint."""
        return {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; every rank calls."""
        self.checkpoint_io.save_checkpoint(checkpoint, filepath)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Nothing: `load_checkpoint` has read them."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Nothing: `load_checkpoint` has read it."""

    def on_exception(self, exception: BaseException) -> None:
        """Let a checkpoint that is being written be finished."""
        self.checkpoint_io.on_exception()
