"""A Lightning strategy: Lightning launches and ranks the processes, Megatron does everything between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy

from dnabert_nemo.megatron import checkpoint, topology
from dnabert_nemo.megatron.sizes import ParallelSizes

# Lightning's record of the config; it holds classes, and the run's config is the command's to give again.
_NOT_KEPT = ("hyper_parameters", "hparams_name", "hparams_type", "datamodule_hyper_parameters")


class MegatronStrategy(DDPStrategy):
    """Starts Megatron's groups over the launched processes, and keeps checkpoints in its format.

    Args:
        model_precision: fp32, bf16 or fp16, of the model's own weights; Lightning itself casts nothing.
        clip_grad: the norm to which the gradient over all ranks is clipped, 0 for none.
    """

    def __init__(self, sizes: ParallelSizes, *, seed: int, model_precision: str, clip_grad: float) -> None:
        super().__init__(process_group_backend="nccl" if torch.cuda.is_available() else "gloo")
        self.sizes, self.seed = sizes, seed
        self.model_precision, self.clip_grad = model_precision, clip_grad

    def setup_distributed(self) -> None:
        """Join the process group, then start Megatron's groups within it."""
        super().setup_distributed()
        if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.num_processes))
        topology.start(self.sizes, self.seed)

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
        self, checkpoint_: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; every rank calls."""
        progress = {key: value for key, value in checkpoint_.items() if key not in _NOT_KEPT}
        model = self._dnabert()
        checkpoint.save(Path(filepath), model.bert, model.optimizer, progress)

    def load_checkpoint(self, checkpoint_path: str | Path) -> dict[str, Any]:
        """Read weights and optimizer into the running model, and return what Lightning keeps besides."""
        model = self._dnabert()
        return checkpoint.load(Path(checkpoint_path), model.bert, model.optimizer)

    def load_model_state_dict(self, checkpoint_: Mapping[str, Any], strict: bool = True) -> None:
        """Nothing: `load_checkpoint` has read them."""

    def load_optimizer_state_dict(self, checkpoint_: Mapping[str, Any]) -> None:
        """Nothing: `load_checkpoint` has read it."""

    def remove_checkpoint(self, filepath: str | Path) -> None:
        """Delete a checkpoint, on the first rank."""
        if self.is_global_zero:
            checkpoint.remove(Path(filepath))

    def _dnabert(self) -> Any:
        module: LightningModule | None = self.lightning_module
        assert module is not None
        return module
