"""Embeddings of ragged sequences: ours packed, the peer's padded to the longest of each batch.

T packed tokens, B sequences of a batch, P positions of its longest, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnabert_nemo.bench.padded import POSITIONS
from dnabert_nemo.bench.throughput.figures import compared
from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.peers import bert_config
from dnabert_nemo.bench.throughput.samples import (
    DrawnSteps,
    Sample,
    Setting,
    mean_attended,
    padded,
    samples_of,
)
from dnabert_nemo.bench.throughput.sections import OURS, Group, Section, targets
from dnabert_nemo.bench.throughput.settings import Settings
from dnabert_nemo.data.batch import positions_in
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.kmer.vocabulary import PAD
from dnabert_nemo.megatron import engine, topology, weights
from dnabert_nemo.megatron.bert import BertForClassification, build
from dnabert_nemo.megatron.shape import dtype_of, transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

PEER = "BertModel, SDPA, padded to the longest"
SORTED = f"{PEER}, sorted by length"


@dataclass(frozen=True)
class Embedding:
    """A row: what its process needs to know.

    Args:
        data: a step of it holds all sequences, which are embedded unmasked and in its order.
        count: sequences of a step.
        batch: sequences that are computed at once.
        kernels: ours; None for the peer.
        is_sorted: the sequences are sorted by their lengths first, so that batches need less padding.
    """

    data: DrawnSteps
    setting: Setting
    count: int
    batch: int
    kernels: Kernels | None
    is_sorted: bool = False

    def load(self) -> list[Sample]:
        """Draw the sequences."""
        drawn = (sample for step in self.data.steps() for sample in samples_of(step))
        samples = list(islice(drawn, self.count))
        return sorted(samples, key=lambda sample: len(sample.ids)) if self.is_sorted else samples

    def start(self, samples: Sequence[Sample]) -> EmbeddingSteps:
        """Make the model, and the batches on the device."""
        return EmbeddingSteps(self, samples)


class EmbeddingSteps:
    """Passes over all sequences, each batch of them to embeddings [B, H]."""

    def __init__(self, work: Embedding, samples: Sequence[Sample]) -> None:
        batches = [samples[at : at + work.batch] for at in range(0, len(samples), work.batch)]
        self.num_micro_batches = len(batches)
        self.mean_attended = mean_attended([samples])
        self.read_share = self.head_share = 1.0
        self._num_tokens = sum(len(sample.ids) for sample in samples)
        dtype = dtype_of(work.setting.precision)
        self._embed: Any
        self._batches: list[Any]
        if work.kernels is None:
            self._embed, self._batches = PaddedEmbedder(work.setting, dtype), list(map(_padded, batches))
        else:
            self._embed, self._batches = (
                PackedEmbedder(work.setting, work.kernels),
                list(map(packed, batches)),
            )

    def step(self, number: int) -> tuple[float, None]:
        """Embed all sequences; return their tokens."""
        with torch.inference_mode():
            for batch in self._batches:
                self._embed(batch)
        return self._num_tokens, None


@dataclass(frozen=True)
class PackedBatch:
    """Sequences end to end, of which every token's hidden state is read."""

    ids: Tensor  # int64 [T]
    positions: Tensor  # int64 [T]
    segment_lengths: tuple[int, ...]  # [B], sums to T
    pooled_at: Tensor  # int64 [T]: all places

    @property
    def pooled_lengths(self) -> tuple[int, ...]:
        """How many of these places each sequence has: all of its own."""
        return self.segment_lengths


class PackedEmbedder:
    """Our encoder, its states of each segment averaged."""

    def __init__(self, setting: Setting, kernels: Kernels) -> None:
        topology.start(ParallelSizes(), setting.seed)
        config = transformer_config(
            setting.shape, ParallelSizes(), setting.precision, kernels=kernels, last_layer_where_read=False
        )
        model = build(lambda run: BertForClassification(config, setting.shape, 2, run))
        weights.initialize(model, setting.shape, setting.seed)
        engine.in_model_precision(model.to(topology.device()).eval())
        self.model: Any = model

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Return the means [B, H] in fp32."""
        means: Tensor = self.model.features(batch)
        return means.float()


def packed(samples: Sequence[Sample]) -> PackedBatch:
    """Lay sequences end to end, on the device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids = torch.cat([sample.ids for sample in samples])
    lengths = tuple(len(sample.ids) for sample in samples)
    return PackedBatch(
        ids.to(device),
        positions_in(lengths).to(device),
        lengths,
        torch.arange(len(ids), device=device),
    )


class PaddedEmbedder:
    """transformers' encoder, its states at the tokens of each row averaged."""

    def __init__(self, setting: Setting, dtype: torch.dtype) -> None:
        from transformers import BertModel

        torch.manual_seed(setting.seed)
        config = bert_config(setting.shape, setting.shape.padded_vocab_size, "sdpa")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model: Any = BertModel(config, add_pooling_layer=False)
        self.model = model.to(device, dtype).eval()

    def __call__(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the means [B, H] in fp32."""
        ids, is_token = batch  # [B, P] each; padding must not be attended to here
        hidden: Tensor = self.model(input_ids=ids, attention_mask=is_token).last_hidden_state.float()
        weight = is_token[..., None].float()
        return (hidden * weight).sum(1) / weight.sum(1)


def _padded(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = [Sample(sample.ids, sample.labels) for sample in samples]
    ids, _ = padded(whole, max(len(sample.ids) for sample in samples))
    return ids.to(device), (ids != PAD).long().to(device)


def inference(settings: Settings, shards: Path, folder: Path) -> Section:
    """Measure embeddings."""
    asked, k = settings.inference, settings.ks[0]
    setting = Setting(settings.shape(k), settings.precision, settings.seed)
    rows = -(-asked.sequences // 20)  # of 8,192 tokens, each of which holds about 26 sequences
    data = DrawnSteps(shards, k, settings.seed, rows, rows, 16 * POSITIONS, 1)
    own = settings.kernels.kernels
    entries = [
        Entry(
            name,
            Embedding(data, setting, asked.sequences, asked.batch, kernels, is_sorted),
            settings.threads,
            None,
        )
        for name, kernels, is_sorted in ((OURS, own, False), (PEER, None, False), (SORTED, None, True))
    ]
    title = f"embeddings of {asked.sequences:,} sequences, {asked.batch} at once"
    ours, peer, by_length = measure(title, entries, asked.turns, folder, is_gpu=settings.here.is_gpu)
    what = "embeddings of ragged sequences"
    return Section(
        "inference",
        [Group(title, [ours, peer, by_length])],
        [
            compared(what, ours, peer, target_ratio=targets(settings).embeddings),
            compared(what, ours, by_length, note="the sequences of all batches are sorted beforehand"),
        ],
        notes="The encoder alone, without dropout; the states of a sequence's tokens are averaged.",
    )
