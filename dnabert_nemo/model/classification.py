"""A classifier of sequences as a NeMo model: the pre-trained encoder, then H-64-C on what is pooled of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnabert_nemo.data.labelled import (
    LabelledBatch,
    LabelledSequences,
    LabelledStep,
    LabelledSteps,
    SampleShape,
)
from dnabert_nemo.data.whitening import Whitening, on_plain_features
from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron import checkpoint, topology, weights
from dnabert_nemo.megatron.bert import BertForClassification
from dnabert_nemo.megatron.lora import train_adapters_alone
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.losses import ClassificationLoss
from dnabert_nemo.megatron.shape import BertConfig
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import feature_cache
from dnabert_nemo.model.base import MegatronModel

log = logging.getLogger("dnabert_nemo")
_ENCODER = ("embedding.", "encoder.")
HEAD, WHITENING = "head.0", "whitening"  # the head's first layer; what checkpoints keep of its features


class DnabertClassifier(MegatronModel):
    """Calls one of `cfg.labels` for every sequence.

    With `cfg.freeze_encoder` the encoder keeps its pre-trained weights and sees every sequence only once.
    """

    def __init__(self, cfg: Any, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.consumed_samples = 0
        self.whitening: Whitening | None = None  # of the features that the head is learning from

    @property
    def labels(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return list(self.cfg.labels)

    @property
    def sum_names(self) -> Sequence[str]:
        return self.new_loss().sum_names

    def new_stage(self, config: BertConfig, run: int) -> BertForClassification:
        return BertForClassification(config, self.shape, len(self.cfg.labels), run)

    def new_loss(self) -> ClassificationLoss:
        return ClassificationLoss(len(self.cfg.labels), self.cfg.get("class_weights"))

    def take(self, whole: dict[str, Tensor]) -> None:
        """Take a classifier's tensors whole, or a language model's encoder under a new head."""
        parts = ("",) if "head.0.weight" in whole else _ENCODER
        for part in parts:
            weights.spread(self.bert, whole, source=self._initial_source, prefix=part)

    def build(self, sizes: ParallelSizes, precision: str, kernels: Kernels | None = None) -> None:
        super().build(sizes, precision, kernels)
        if LoraSettings.of(self.cfg) is not None:
            train_adapters_alone(self.bert)
        if self.cfg.freeze_encoder:
            for name, parameter in self.bert.named_parameters():
                parameter.requires_grad = not name.startswith(_ENCODER)

    def forward(self, batch: LabelledBatch) -> Tensor:
        """Return the logits [B, C] (on one rank)."""
        return self.bert(batch)

    def predict(self, sequences: Sequence[str], micro_batch_size: int = 16) -> Tensor:
        """Return the probabilities [n, C] of sequences of A, C, G and T, in order (on one rank)."""
        return self.classify(self.encode(sequences, micro_batch_size))

    @torch.no_grad()
    def encode(self, sequences: Sequence[str], micro_batch_size: int = 16) -> Tensor:
        """Return what the encoder makes of sequences of A, C, G and T [n, H], in order (on one rank)."""
        data = LabelledSequences(
            sequences,
            [0] * len(sequences),
            k=self.cfg.tokenizer.k,
            max_positions=self.shape.max_position_embeddings,
            pooling=self._pooling,
            one_size=False,
        )
        self.bert.eval()
        steps = LabelledSteps(data, SampleShape(micro_batch_size, micro_batch_size), seed=None)
        return torch.cat([self.bert.features(step.micro_batches[0].to(self.device)).cpu() for step in steps])

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """Return the probabilities [n, C] of what `encode` returned, here or with the same `encoder_key`."""
        self.bert.eval()
        return self.bert.head(features.to(self.device)).softmax(-1).cpu()

    @property
    def encoder_key(self) -> str:
        """A hash, in hex, that classifiers share whose encoders make the same of a sequence."""
        return feature_cache.key(self._encoder(), self._pooling, str(self.shape))

    @torch.no_grad()
    def features_of(self, data: LabelledSequences) -> Tensor:
        """Return what the encoder makes of the sequences [n, H], each data rank doing its share."""
        self.bert.eval()
        size = self.trainer.datamodule.shape.micro_batch_size
        rank, ranks = topology.data_rank(), topology.data_size()
        shape = SampleShape(size * ranks, size)
        steps = LabelledSteps(data, shape, seed=None, data_parallel_rank=rank, data_parallel_size=ranks)
        features = torch.zeros(len(data), self.shape.hidden_size, device=topology.device())
        for number, step in enumerate(steps):
            (batch,) = step.micro_batches
            first = number * shape.global_batch_size + rank * size
            features[first : first + len(batch.labels)] = self.bert.features(
                batch.to(topology.device())
            ).float()
        return topology.sum_over_data_ranks(features).cpu()

    def setup(self, stage: str | None = None) -> None:
        """Tell the data which part of every step is this rank's."""
        self.trainer.datamodule.set_data_parallel(topology.data_rank(), topology.data_size())

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.cfg.freeze_encoder:
            folder = self.cfg.data.get("features_dir")
            self.whitening = self.trainer.datamodule.cache_features(
                self.features_of if folder is None else self._kept_features(Path(folder))
            )

    def _kept_features(self, folder: Path) -> Callable[[LabelledSequences], Tensor]:
        """Return `features_of`, which looks into a folder first; the first rank reads and writes there."""
        encoder = self._encoder()
        precision = self.trainer.strategy.model_precision

        def features(data: LabelledSequences) -> Tensor:
            key = feature_cache.key(encoder, data.sha256, data.pooling, precision)
            path, size = folder / f"{key}.safetensors", (len(data), self.shape.hidden_size)
            found: Tensor | None = checkpoint.by_first_rank(lambda: feature_cache.read(path, size))
            if found is None:
                made = self.features_of(data)
                checkpoint.by_first_rank(lambda: feature_cache.write(path, made))
                return made
            log.info("what the encoder makes of %d sequences is there already: %s", len(data), path)
            return found

        return features

    @property
    def _pooling(self) -> str:
        return str(self.cfg.get("pooling", "centre"))  # which files of earlier versions do not name

    def _encoder(self) -> dict[str, Tensor]:
        whole = weights.gather(self.bert)
        return {name: tensor for name, tensor in whole.items() if name.startswith(_ENCODER)}

    def training_step(self, batch: LabelledStep, batch_idx: int) -> None:
        """Take one optimizer step and log what it measured."""
        sums = self.step(batch.micro_batches, training=True)
        self.consumed_samples = batch.consumed_samples
        self.rates.add(samples=int(sums["samples"]), tokens=batch.num_tokens)
        if self.is_reported:
            amounts, seconds = self.rates.take()
            self.log_dict(self._means(sums), prog_bar=True)
            counts = {"consumed_samples": self.consumed_samples}
            speed = {"samples_per_second": amounts["samples"] / seconds}
            if amounts["tokens"]:  # of a frozen encoder there are none, as it has seen them
                speed["tokens_per_second"] = amounts["tokens"] / seconds
            self.log_figures(self.figures(seconds) | counts | speed)

    def on_validation_epoch_start(self) -> None:
        self._validation = torch.zeros(len(self.sum_names), dtype=torch.double)

    def validation_step(self, batch: LabelledStep, batch_idx: int) -> None:
        """Add one step of the validation samples to the sums."""
        self._validation += torch.stack(list(self.step(batch.micro_batches, training=False).values())).cpu()

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation samples."""
        sums = dict(zip(self.sum_names, self._validation, strict=True))
        self.log_dict({f"val_{name}": value for name, value in self._means(sums).items()}, prog_bar=True)

    def file_weights(self) -> dict[str, Tensor]:
        state = None if self.whitening is None else self.whitening.state()
        return on_plain_features(super().file_weights(), state, f"bert.{HEAD}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["consumed_samples"] = self.consumed_samples
        if self.whitening is not None:
            checkpoint[WHITENING] = self.whitening.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.cfg.freeze_encoder and WHITENING not in checkpoint:
            raise CheckpointError(
                "the checkpoints of this run are of an earlier version, whose heads learned from other "
                "features: pass another exp_manager.name"
            )
        self.consumed_samples = checkpoint["consumed_samples"]
        self.trainer.datamodule.set_consumed_samples(self.consumed_samples)

    def _means(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        classes = range(len(self.cfg.labels))
        confusion = torch.stack([sums[f"{true}->{called}"] for true in classes for called in classes])
        confusion = confusion.view(len(classes), len(classes))
        return {
            "loss": sums["loss"] / sums["samples"],
            "accuracy": confusion.trace() / sums["samples"],
            "mcc": matthews_correlation(confusion),
        }


def matthews_correlation(confusion: Tensor) -> Tensor:
    """Return the correlation of true and called classes, 0 where one of the two is constant.

    R_K of Gorodkin 2004 (Comput. Biol. Chem. 28:367), which for two classes is Matthews'.

    Args:
        confusion: [C, C] counts, a row for each true class.
    """
    total, true, called = confusion.sum(), confusion.sum(1), confusion.sum(0)
    covariance = confusion.trace() * total - true @ called
    spread = ((total**2 - true @ true) * (total**2 - called @ called)).sqrt()
    return torch.where(spread > 0, covariance / spread.clamp(min=1), 0.0)
