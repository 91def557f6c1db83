"""What the NeMo models share: a Megatron stage inside a ModelPT, trained by Lightning step by step."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from nemo.core import ModelPT
from nemo.core.optim.lr_scheduler import CosineAnnealing
from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import engine, topology, weights
from dnabert_nemo.megatron.bert import Stage
from dnabert_nemo.megatron.engine import Loss
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings
from dnabert_nemo.megatron.shape import BertShape
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import nemo_file

_SHAPE_KEYS = {field.name for field in fields(BertShape)} - {"vocab_size", "padded_vocab_size"}
# What a config must share with another for their encoders to be alike.
ENCODER_KEYS = _SHAPE_KEYS | {"tokenizer"}


def bert_shape(cfg: DictConfig | dict[str, Any]) -> BertShape:
    """Read the encoder's shape from a model config (keys as in conf/dnabert_86m.yaml)."""
    vocabulary = Vocabulary(cfg["tokenizer"]["k"])
    given = {key: cfg[key] for key in _SHAPE_KEYS if key in cfg}
    return BertShape(len(vocabulary), vocabulary.padded_size(), **given)


def parallel_sizes(cfg: DictConfig | dict[str, Any]) -> ParallelSizes:
    """Read the sizes of the parallel groups from a model config."""
    return ParallelSizes(
        cfg["tensor_model_parallel_size"], cfg["pipeline_model_parallel_size"], cfg["sequence_parallel"]
    )


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
        self.shape = bert_shape(cfg)
        self._initial: nemo_file.NemoFile | None = None
        self._initial_source = ""
        if self._is_model_being_restored():
            self.build(ParallelSizes(), "fp32")

    @abstractmethod
    def new_stage(self, sizes: ParallelSizes, precision: str) -> Stage:
        """Make this rank's stage, its weights not yet drawn."""

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

    def build(self, sizes: ParallelSizes, precision: str) -> None:
        """Make this rank's stage and draw its weights, or take those of `start_from`."""
        topology.start(sizes, int(self.cfg.get("seed", 0)))
        self.bert = self.new_stage(sizes, precision)
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
            self.build(parallel_sizes(self.cfg), self.trainer.strategy.model_precision)

    def configure_optimizers(self) -> Any:
        """Wrap the stage for data-parallel training and make its optimizer and schedule."""
        optim = OmegaConf.to_container(self.cfg.optim, resolve=True)
        sched = optim.pop("sched")
        settings = OptimizerSettings(
            **{**optim, "betas": tuple(optim["betas"])}, clip_grad=self.trainer.strategy.clip_grad
        )
        self.bert.to(topology.device())
        ddp = engine.data_parallel(self.bert, distributed_optimizer=settings.distributed)
        object.__setattr__(self, "ddp", ddp)  # not a child module: the weights are already those of `bert`
        self.loss = self.new_loss()
        self.optimizer = MegatronAdamW(ddp, settings)
        sched.pop("name")  # CosineAnnealing, NeMo's
        scheduler = CosineAnnealing(self.optimizer, max_steps=self.trainer.max_steps, **sched)
        return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def step(self, micro_batches: Sequence[Any], *, training: bool) -> dict[str, torch.Tensor]:
        """Run one step over all ranks and return its sums by name; training also updates the weights."""
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
            optimizer.step()
            scheduler.step()
        return dict(zip(self.sum_names, sums, strict=True))

    def save_to(self, save_path: str) -> None:
        """Write a .nemo file that any parallel sizes, or one CPU, can open; every rank calls."""
        whole = weights.gather(self.bert)
        if dist.get_rank() == 0:
            config = OmegaConf.to_container(self.cfg, resolve=True)
            for key in ("data", "optim"):  # how it was trained on one machine, not what it is
                config.pop(key, None)
            nemo_file.write(
                Path(save_path),
                config,
                self.vocabulary,
                {f"bert.{name}": tensor for name, tensor in whole.items()},
            )
        dist.barrier()

    def setup_training_data(self, train_data_config: DictConfig) -> None:
        """Nothing: data comes from a Lightning data module."""

    def setup_validation_data(self, val_data_config: DictConfig) -> None:
        """Nothing: data comes from a Lightning data module."""

    @classmethod
    def list_available_models(cls) -> list[Any]:
        """None: no weights are published with the package."""
        return []


class Throughput:
    """Real tokens a second between two calls."""

    def __init__(self) -> None:
        self._then = time.perf_counter()

    def __call__(self, num_tokens: int) -> float:
        now = time.perf_counter()
        elapsed, self._then = now - self._then, now
        return num_tokens / elapsed
