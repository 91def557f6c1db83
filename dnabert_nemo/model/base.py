"""What the NeMo models share: a Megatron stage inside a ModelPT, trained by Lightning step by step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nemo.core import ModelPT
from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import bert, checkpoint, engine, topology, weights
from dnabert_nemo.megatron.bert import Stage
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.engine import Loss
from dnabert_nemo.megatron.lora import merged
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.optimizer import MegatronAdamW
from dnabert_nemo.megatron.optimizer_settings import LossScaling, OptimizerSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.schedules import ScheduleSettings
from dnabert_nemo.megatron.shape import BertConfig, transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import nemo_file, provenance
from dnabert_nemo.model.rate_schedule import RateSchedule
from dnabert_nemo.model.resuming import check_same_run
from dnabert_nemo.model.step_rates import DataWait, StepRates, peak_memory_gib


class MegatronModel(ModelPT):
    """A NeMo model whose network is this rank's stage of a Megatron model, `bert`.

    For training, the stage comes into being in `configure_model`, when the ranks know each other. Restored
    from a .nemo file it is there at once and whole, in a group of this process alone.
    """

    def __init__(self, cfg: DictConfig, trainer: Any = None) -> None:
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
        self.vocabulary = Vocabulary(cfg.tokenizer.k)
        super().__init__(cfg, trainer)
        if str(cfg.tokenizer.get("vocab_file") or "").startswith("nemo:"):
            self.vocabulary = Vocabulary.read(
                Path(self.register_artifact("tokenizer.vocab_file", cfg.tokenizer.vocab_file))
            )
        self.automatic_optimization = False
        self.shape = BertShape.of(cfg)
        self._initial: nemo_file.NemoFile | None = None
        self._initial_source = ""
        self._started_from: dict[str, Any] | None = None
        self._last_rate = 0.0
        self.rates = StepRates()
        if self._is_model_being_restored():
            self.build(ParallelSizes(), "fp32")

    @abstractmethod
    def new_stage(self, config: BertConfig, run: int) -> Stage:
        """Make this rank's run-th stage, its weights not yet drawn."""

    @abstractmethod
    def new_loss(self) -> Loss:
        """Make what measures the last stage's output."""

    @property
    @abstractmethod
    def sum_names(self) -> Sequence[str]:
        """Names of the sums the loss returns; the first two are the summed loss and its count."""

    def start_from(self, file: nemo_file.NemoFile, source: str) -> None:
        """Take the weights of a .nemo file, as far as the names agree, when the stage is built."""
        self._initial, self._initial_source = file, source
        self._started_from = file.provenance

    def build(self, sizes: ParallelSizes, precision: str, kernels: Kernels | None = None) -> None:
        """Make this rank's stage and draw its weights, or take those of `start_from`."""
        topology.start(sizes, int(self.cfg.get("seed", 0)))
        config = transformer_config(
            self.shape, sizes, precision, Recompute.of(self.cfg), kernels, lora=LoraSettings.of(self.cfg)
        )
        self.bert = bert.build(lambda run: self.new_stage(config, run))
        weights.initialize(self.bert, self.shape, int(self.cfg.get("seed", 0)))
        if self._initial is not None:
            whole = {name.removeprefix("bert."): tensor for name, tensor in self._initial.weights.items()}
            self.take(whole)
            self._initial = None

    def take(self, whole: dict[str, torch.Tensor]) -> None:
        """Copy whole tensors, by their one-rank names, into this rank's stage."""
        weights.spread(self.bert, whole, source=self._initial_source)

    def configure_model(self) -> None:
        """Build the stage for the run's sizes and precision (called by Lightning on every rank)."""
        if not hasattr(self, "bert"):
            strategy = self.trainer.strategy
            self.build(ParallelSizes.of(self.cfg), strategy.model_precision, strategy.kernels)

    def configure_optimizers(self) -> Any:
        """Wrap the stage for data-parallel training and make its optimizer and schedule."""
        optim = OmegaConf.to_container(self.cfg.optim, resolve=True)
        settings = OptimizerSettings.of(optim, self.trainer.strategy.clip_grad)
        self.bert.to(topology.device())
        ddp = engine.data_parallel(self.bert, distributed_optimizer=settings.distributed)
        object.__setattr__(self, "ddp", ddp)  # not a child module: the weights are already those of `bert`
        self.loss = self.new_loss()
        self.optimizer = MegatronAdamW(ddp, settings, self._loss_scaling())
        scheduler = RateSchedule(
            self.optimizer,
            ScheduleSettings.of(optim["sched"]),
            lr=settings.lr,
            max_steps=self.trainer.max_steps,
        )
        return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _loss_scaling(self) -> LossScaling:
        named = {  # by NeMo's names; a config from before fp16 was scaled has none of them
            "initial": "native_amp_init_scale",
            "growth_interval": "native_amp_growth_interval",
            "hysteresis": "hysteresis",
        }
        return LossScaling(**{name: self.cfg[key] for name, key in named.items() if key in self.cfg})

    def step(self, micro_batches: Sequence[Any], *, training: bool) -> dict[str, torch.Tensor]:
        """Run one step over all ranks and return its sums by name; training also updates the weights.

        Nothing here waits for the device, but in fp16, whose scaling looks for overflows.
        """
        self.ddp.train(training)
        if training:
            optimizer, scheduler = self.optimizers(), self.lr_schedulers()
            optimizer.zero_grad()
        with torch.set_grad_enabled(training):
            sums = engine.run_step(
                self.ddp,
                micro_batches,
                self.loss,
                hidden_tokens=micro_batches[0].ids.numel(),
                num_sums=len(self.sum_names),
                training=training,
            )
        if training:
            self._last_rate = max(group["lr"] for group in self.optimizer.param_groups)
            optimizer.step(loss=sums[0] / sums[1])
            scheduler.step()
        return dict(zip(self.sum_names, sums, strict=True))

    @property
    def is_reported(self) -> bool:
        """Whether the step just taken is one whose figures are logged."""
        done = self.trainer.global_step
        return done % self.trainer.log_every_n_steps == 0 or done == self.trainer.max_steps

    def figures(self, seconds: float) -> dict[str, float]:
        """Return what every training reports of its last step, and of the `seconds` since the last report."""
        optimizer = self.optimizer
        norm = optimizer.last.grad_norm
        figures = {
            "lr": self._last_rate,
            "grad_norm": math.nan if norm is None else norm,
            "skipped_steps": optimizer.num_skipped,
        }
        if optimizer.loss_scale is not None:
            figures["loss_scale"] = optimizer.loss_scale
        if isinstance(self.trainer.profiler, DataWait):
            figures["data_wait_share"] = self.trainer.profiler.take() / seconds
        return figures | {"peak_memory_gib": peak_memory_gib()}

    def log_figures(self, figures: dict[str, Any], **how: Any) -> None:
        """Log figures; in double precision, as single loses count of samples at 17 million."""
        exact = {name: torch.tensor(value, dtype=torch.double) for name, value in figures.items()}
        self.log_dict(exact, **how)

    def on_train_start(self) -> None:
        self.rates = StepRates()
        if isinstance(self.trainer.profiler, DataWait):
            self.trainer.profiler.take()

    def on_validation_start(self) -> None:
        self.rates.pause()  # what validation takes is not training's

    def on_validation_end(self) -> None:
        self.rates.resume()

    def file_config(self) -> dict[str, Any]:
        """Return the config that goes with the weights into a file: what the model is, where it is from."""
        config: dict[str, Any] = OmegaConf.to_container(self.cfg, resolve=True)
        for key in ("data", "optim"):  # how it was trained on one machine, not what it is
            config.pop(key, None)
        known = config.get("provenance")
        return {**config, "provenance": provenance.of_run(self, known, self._started_from)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the config into a checkpoint, so that a .nemo file can be made from it and nothing else."""
        checkpoint["model_config"] = self.file_config()
        checkpoint["skipped_steps"] = self.optimizer.num_skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting the steps that changed nothing, where the checkpoint is of this model."""
        theirs = checkpoint.get("model_config")  # which those of earlier versions lack
        if theirs is not None:
            check_same_run(OmegaConf.to_container(self.cfg, resolve=True), theirs, self._started_from)
        self.optimizer.num_skipped = checkpoint.get("skipped_steps", 0)

    def file_weights(self) -> dict[str, torch.Tensor]:
        """Collect whole tensors on the first rank, by the names in a .nemo file; every rank calls."""
        return {f"bert.{name}": tensor for name, tensor in weights.gather(self.bert).items()}

    def save_to(self, save_path: str) -> None:
        """Write a .nemo file that any parallel sizes, or one CPU, can open; every rank calls.

        Raises:
            CheckpointError: on every rank, if the first cannot write it.
        """
        config, whole = merged(self.file_config(), self.file_weights())
        checkpoint.by_first_rank(lambda: nemo_file.write(Path(save_path), config, self.vocabulary, whole))

    def setup_training_data(self, train_data_config: DictConfig) -> None:
        """Nothing: data comes from a Lightning data module."""

    def setup_validation_data(self, val_data_config: DictConfig) -> None:
        """Nothing: data comes from a Lightning data module."""

    @classmethod
    def list_available_models(cls) -> list[Any]:
        """None: no weights are published with the package."""
        return []
