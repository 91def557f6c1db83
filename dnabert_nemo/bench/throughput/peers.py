"""Rows of the peers' training: models of transformers on the same samples, padded as they take them.

S samples of a micro batch, P positions of a padded sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dnabert_nemo.bench.padded import POSITIONS, padded_batch
from dnabert_nemo.bench.throughput.samples import Data, Sample, Setting, mean_attended, padded, samples_of
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.kmer.vocabulary import CLS, PAD, SEP, Vocabulary
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings

ORIGINAL = "original DNABERT's way"
SDPA = "BertForMaskedLM, SDPA"
COMPILED = "BertForMaskedLM, SDPA, torch.compile"
MODERN = "ModernBertForMaskedLM, SDPA"
NAMES = {"original": ORIGINAL, "sdpa": SDPA, "compile": COMPILED, "modernbert": MODERN}  # in the config

_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PeerTraining:
    """A row of a peer: what its process needs to know.

    Args:
        name: one of NAMES' values.
        samples: of a micro batch.
        positions: that samples are padded to.
    """

    name: str
    data: Data
    setting: Setting
    samples: int
    positions: int = POSITIONS

    def load(self) -> list[list[Sample]]:
        """Make the steps' samples."""
        return [samples_of(step) for step in self.data.steps()]

    def start(self, steps: Sequence[Sequence[Sample]]) -> PeerSteps:
        """Make the model and its optimizer."""
        return PeerSteps(self, steps)


class PeerSteps:
    """Training steps of a peer: every micro batch is padded to all positions, and all tokens get logits.

    The original's masks its samples in the step, one by one in Python, and loops over the parameters in its
    optimizer; its half precision was apex's O1, for which autocast stands here. All others find their
    batches masked on the device, as ours are masked, and have the fused optimizer. None is given an attention
    mask: the original gives none either, and without one they are faster.
    """

    def __init__(self, work: PeerTraining, steps: Sequence[Sequence[Sample]]) -> None:
        shape, precision = work.setting.shape, work.setting.precision
        torch.manual_seed(work.setting.seed)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._is_original = work.name == ORIGINAL
        self._rule = MaskRule(work.data.k)
        self._positions = work.positions
        self._batches = [
            [step[at : at + work.samples] for at in range(0, len(step), work.samples)] for step in steps
        ]
        self.num_micro_batches = len(self._batches[0])
        self.mean_attended = mean_attended(steps)
        self.read_share = self.head_share = 1.0
        self._num_tokens = [sum(len(sample.ids) for sample in step) for step in steps]
        self._masked = [] if self._is_original else [self._on_device(batches) for batches in self._batches]
        self._model: Any = peer_model(work.name, shape, work.data.k).to(self._device).train()
        self._parameters = list(self._model.parameters())
        optimizer = OptimizerSettings()
        kernel = {"foreach": False, "fused": False} if self._is_original else {"fused": True}
        self._clip_grad = optimizer.clip_grad
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=optimizer.lr,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            **kernel,
        )
        self._amp = _AMP.get(precision)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "fp16")

    def step(self, number: int) -> tuple[int, Tensor]:
        """Take a step; return its tokens without padding, and its loss."""
        at = number % len(self._num_tokens)
        micro_batches = self._in_step(at) if self._is_original else self._masked[at]
        total = torch.zeros((), device=self._device)
        for inputs, labels in micro_batches:
            with self._autocast():
                loss = self._model(input_ids=inputs, labels=labels).loss / len(micro_batches)
            self._scaler.scale(loss).backward()
            total += loss.detach()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_grad)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return self._num_tokens[at], total

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._amp is None else torch.autocast(self._device.type, self._amp)

    def _on_device(self, batches: Sequence[Sequence[Sample]]) -> list[tuple[Tensor, Tensor]]:
        made = [padded(batch, self._positions) for batch in batches]
        return [(inputs.to(self._device), labels.to(self._device)) for inputs, labels in made]

    def _in_step(self, at: int) -> list[tuple[Tensor, Tensor]]:
        made = [
            padded_batch([sample.ids for sample in batch], self._rule.k, self._rule.chance)
            for batch in self._batches[at]
        ]
        return [(inputs.to(self._device), labels.to(self._device)) for inputs, labels in made]


def peer_model(name: str, shape: BertShape, k: int) -> torch.nn.Module:
    """Make a peer's language model of our shape and dropout.

    Its vocabulary has as many rows as ours, a multiple of 128, which is kinder to its last product; the
    original's has none to spare. ModernBERT's MLP is gated: two thirds of our width make it as large as ours.
    torch.compile takes the layers one by one, which are all alike, so only one is compiled.
    """
    # Each imported by itself: they bring most of transformers.
    if name == MODERN:
        from transformers import ModernBertConfig, ModernBertForMaskedLM

        given: dict[str, Any] = {
            "vocab_size": shape.padded_vocab_size,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.ffn_hidden_size * 2 // 3 // 8 * 8,
            "num_hidden_layers": shape.num_layers,
            "num_attention_heads": shape.num_attention_heads,
            "max_position_embeddings": shape.max_position_embeddings,
            "attention_dropout": shape.attention_dropout,
            "embedding_dropout": shape.hidden_dropout,
            "mlp_dropout": shape.hidden_dropout,
            "sparse_prediction": True,
            "attn_implementation": "sdpa",
            **_SPECIALS,
        }
        return ModernBertForMaskedLM(ModernBertConfig(**given))
    from transformers import BertForMaskedLM

    vocab_size = len(Vocabulary(k)) if name == ORIGINAL else shape.padded_vocab_size
    attention = "eager" if name == ORIGINAL else "sdpa"
    model = BertForMaskedLM(bert_config(shape, vocab_size, attention))
    if name == COMPILED:
        for layer in model.bert.encoder.layer:
            layer.compile()
    return model


def bert_config(shape: BertShape, vocab_size: int, attention: str) -> Any:
    """Return transformers' config of a BERT of our shape."""
    from transformers import BertConfig

    given: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_attention_heads,
        "intermediate_size": shape.ffn_hidden_size,
        "hidden_dropout_prob": shape.hidden_dropout,
        "attention_probs_dropout_prob": shape.attention_dropout,
        "max_position_embeddings": shape.max_position_embeddings,
        "pad_token_id": PAD,
        "attn_implementation": attention,
    }
    return BertConfig(**given)


_SPECIALS = {
    "pad_token_id": PAD,
    "bos_token_id": CLS,
    "eos_token_id": SEP,
    "cls_token_id": CLS,
    "sep_token_id": SEP,
}
