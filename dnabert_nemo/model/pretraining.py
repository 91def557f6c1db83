"""The masked language model as a NeMo model: from packed steps of masked k-mers to a .nemo file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from dnabert_nemo.data.batch import MicroBatch, StepBatch
from dnabert_nemo.megatron import engine, topology
from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.flops import flops_per_token
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.shape import BertConfig
from dnabert_nemo.model.base import MegatronModel
from dnabert_nemo.model.utilisation import peak_flops


class DnabertModel(MegatronModel):
    """DNABERT: BERT over overlapping k-mers, trained to fill in masked ones.

    Where training stands is two counts, `consumed_samples` and `consumed_tokens`; they travel with the
    checkpoint.
    """

    def __init__(self, cfg: Any, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.consumed_samples = 0
        self.consumed_tokens = 0
        self._validation: dict[str, torch.Tensor] = {}

    @property
    def sum_names(self) -> Sequence[str]:
        return MASKED_LM_SUMS

    def new_stage(self, config: BertConfig, run: int) -> BertForMaskedLM:
        return BertForMaskedLM(config, self.shape, run)

    def new_loss(self) -> MaskedLMLoss:
        return MaskedLMLoss(len(self.vocabulary.tokens[-1]), self.trainer.strategy.kernels.cross_entropy)

    def forward(self, batch: MicroBatch) -> torch.Tensor:
        """Return the logits [M, V] at the places `batch.masked_at` (on one rank)."""
        return self.bert(batch)

    def setup(self, stage: str | None = None) -> None:
        """Tell the data which part of every step is this rank's."""
        self.trainer.datamodule.set_data_parallel(topology.data_rank(), topology.data_size())

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Take one optimizer step and log what it measured."""
        sums = self.step(batch.micro_batches, training=True)
        self.consumed_samples, num_tokens = engine.whole_counts(batch)
        self.consumed_tokens += num_tokens
        lengths = [length for each in batch.micro_batches for length in each.segment_lengths]
        self.rates.add(
            tokens=num_tokens,
            padded_tokens=sum(lengths) * topology.data_size(),
            rank_tokens=sum(lengths),
            attended=sum(length * length for length in lengths),
            read=sum(each.labels.numel() for each in batch.micro_batches),
        )
        if self.is_reported:
            counts = {"consumed_samples": self.consumed_samples, "consumed_tokens": self.consumed_tokens}
            amounts, seconds = self.rates.take()
            self.log_dict(_means(sums), prog_bar=True)
            self.log_figures(self.figures(seconds) | counts | self._speed(amounts, seconds))

    def _speed(self, amounts: Mapping[str, int], seconds: float) -> dict[str, float]:
        """Tokens a second over all ranks, and what they come to for each of the devices.

        The mean attended length and the share of masked tokens are taken from this rank's rows, which are
        like the others'.
        """
        tokens_per_second = amounts["tokens"] / seconds
        mean_attended = amounts["attended"] / amounts["rank_tokens"]
        where_read = self.bert.config.last_layer_where_read
        read_share = amounts["read"] / amounts["rank_tokens"] if where_read else 1.0
        flops = flops_per_token(self.shape, mean_attended, read_share)
        achieved = flops * tokens_per_second / dist.get_world_size()
        speed = {
            "tokens_per_second": tokens_per_second,
            "padded_tokens_per_second": amounts["padded_tokens"] / seconds,
            "tflops_per_device": achieved / 1e12,
        }
        if torch.cuda.is_available():
            precision = self.trainer.strategy.model_precision
            peak = peak_flops(torch.cuda.get_device_name(), precision)
            if peak is not None:
                speed["mfu"] = achieved / peak
        return speed

    def on_validation_epoch_start(self) -> None:
        self._validation = {name: torch.zeros((), dtype=torch.double) for name in self.sum_names}

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add one step of the validation samples to the sums."""
        for name, value in self.step(batch.micro_batches, training=False).items():
            self._validation[name] += value.cpu()

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation samples, and how many places they are over."""
        means = {f"val_{name}": value for name, value in _means(self._validation).items()}
        self.log_dict({**means, "val_hidden_bases": self._validation["hidden_bases"]}, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["consumed_samples"] = self.consumed_samples
        checkpoint["consumed_tokens"] = self.consumed_tokens

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.consumed_samples = checkpoint["consumed_samples"]
        self.consumed_tokens = checkpoint["consumed_tokens"]
        self.trainer.datamodule.set_consumed_samples(self.consumed_samples)


def _means(sums: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        "loss": sums["loss"] / sums["masked_tokens"],
        "masked_accuracy": sums["correct_tokens"] / sums["masked_tokens"],
        "base_cross_entropy": sums["base_cross_entropy"] / sums["hidden_bases"],
    }
