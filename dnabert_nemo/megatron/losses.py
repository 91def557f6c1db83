"""What is measured on the last stage: sums over a micro batch, which add up over micro batches and ranks.

M masked places, J hidden bases, V padded vocabulary, R tensor-parallel ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import tensor_parallel

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.kernels.cross_entropy import masked_cross_entropy
from dnabert_nemo.kmer.ids import base_table
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS
from dnabert_nemo.megatron import topology

MASKED_LM_SUMS = ("loss", "masked_tokens", "correct_tokens", "base_cross_entropy", "hidden_bases")


class MaskedLMLoss:
    """Cross-entropy at the masked places and, from the same logits, the cross-entropy per hidden base."""

    def __init__(self, k: int, cross_entropy: str = "torch") -> None:
        self._cross_entropy = cross_entropy
        self._bases = torch.from_numpy(base_table(k)[NUM_SPECIALS:].astype("int64"))  # [4^k, k]

    def __call__(
        self, logits: torch.Tensor, batch: MicroBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the summed loss (with its gradient), how many places it sums, and MASKED_LM_SUMS.

        Args:
            logits: [M, V / R], this rank's columns.
        """
        with torch.no_grad():
            correct = (_vocab_parallel_argmax(logits) == batch.labels).sum()
            base_cross_entropy = self.hidden_base_cross_entropy(logits, batch).sum()
        loss = self._losses(logits, batch.labels).sum()
        count = torch.full((), batch.labels.numel(), dtype=torch.int, device=logits.device)
        sums = torch.stack(
            [
                loss.detach().double(),
                count.double(),
                correct.double(),
                base_cross_entropy.double(),
                torch.full((), batch.hidden_base.numel(), dtype=torch.double, device=logits.device),
            ]
        )
        return loss, count, sums

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return -log p [M]; Triton's kernel leaves the gradient where the logits were."""
        if self._cross_entropy != "triton" or not logits.requires_grad:
            return tensor_parallel.vocab_parallel_cross_entropy(logits, labels)
        return masked_cross_entropy(
            logits, labels, first=topology.tensor_rank() * logits.shape[-1], group=topology.tensor_group()
        )

    def hidden_base_cross_entropy(self, logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        """Return -log p [J] in nats of each base that no visible token covers.

        p is the middle covering token's distribution over k-mers, summed over the k-mers with that base at
        that place.
        """
        if self._bases.device != logits.device:
            self._bases = self._bases.to(logits.device)
        bases = self._bases
        rows = _whole_vocabulary(logits.index_select(0, batch.hidden_token))
        log_p = rows[:, NUM_SPECIALS : NUM_SPECIALS + len(bases)].float().log_softmax(-1)  # [J, 4^k]
        agrees = bases.T[batch.hidden_offset] == batch.hidden_base[:, None]
        return -log_p.masked_fill(~agrees, float("-inf")).logsumexp(-1)


def _whole_vocabulary(logits: torch.Tensor) -> torch.Tensor:
    return tensor_parallel.gather_from_tensor_model_parallel_region(logits)


def _vocab_parallel_argmax(logits: torch.Tensor) -> torch.Tensor:
    return _whole_vocabulary(logits).argmax(-1)


class ClassificationLoss:
    """Cross-entropy over samples and, from the same logits, the confusion of `num_classes` classes.

    Args:
        weights: [C], what a sample of each class counts; None: one. The loss is divided by the number of
            samples all the same: weights whose mean over the samples is one leave its size as it is.
    """

    def __init__(self, num_classes: int, weights: Sequence[float] | None = None) -> None:
        self.num_classes = num_classes
        self.weights = None if weights is None else torch.tensor(weights)
        cells = [f"{true}->{called}" for true in range(num_classes) for called in range(num_classes)]
        self.sum_names = ("loss", "samples", *cells)

    def __call__(self, logits: torch.Tensor, batch: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the summed loss (with its gradient), the number of samples, and all sums by `sum_names`.

        Args:
            logits: [B, C].
        """
        if self.weights is not None:
            self.weights = self.weights.to(logits.device)
        loss = F.cross_entropy(logits.float(), batch.labels, self.weights, reduction="sum")
        count = torch.tensor(batch.labels.numel(), dtype=torch.int, device=logits.device)
        cells = batch.labels * self.num_classes + logits.detach().argmax(-1)
        confusion = torch.bincount(cells, minlength=self.num_classes**2)
        return (
            loss,
            count,
            torch.cat([loss.detach().double()[None], count.double()[None], confusion.double()]),
        )
