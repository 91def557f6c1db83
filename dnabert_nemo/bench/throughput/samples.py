"""The samples that every row of the throughput benchmark trains on, packed or padded: the same for all rows.

T packed tokens, S samples, P positions of a padded sample, M masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dnabert_nemo.bench.made_up import write_genome
from dnabert_nemo.data.batch import MicroBatch, positions_in
from dnabert_nemo.data.joined import JoinedSets
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape, pack_step
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.data.steps import PackedSteps
from dnabert_nemo.errors import ConfigError, DnabertError
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.kmer.vocabulary import PAD
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings
from dnabert_nemo.training.trial import made_up_batch

IGNORED = -100  # a label that the peers' loss leaves out
_TRIES = 100  # steps that are looked at for each that has the asked number of samples

Step = tuple[MicroBatch, ...]


@dataclass(frozen=True)
class Setting:
    """What all rows of a group have in common, ours and the peers'."""

    shape: BertShape
    precision: str  # fp32, bf16 or fp16
    seed: int


class Data(Protocol):
    """What a row trains on; it is sent to the row's process, which makes the steps there."""

    @property
    def k(self) -> int: ...

    def steps(self, data_rank: int = 0, data_size: int = 1) -> list[Step]:
        """Make the steps, or a data-parallel rank's part of them."""
        ...


@dataclass(frozen=True)
class DrawnSteps:
    """The first steps of a training run on a shard set, those of `samples` samples alone where that is asked.

    With as many samples in every step no padded peer has a short batch at its end.
    """

    shards: Path
    k: int
    seed: int
    rows: int
    micro_batch_size: int
    tokens_per_row: int
    num_steps: int
    samples: int | None = None
    max_positions: int = 512

    def steps(self, data_rank: int = 0, data_size: int = 1) -> list[Step]:
        """Draw the steps, or a data-parallel rank's rows of them.

        Raises:
            ConfigError: there are too few of so many samples.
        """
        return [self._step(first, data_rank, data_size) for first in self.firsts()]

    def stream(self) -> PackedSteps:
        """Return all steps from the first on, whatever their samples, as training loads them."""
        return self._from(0, 0, 1)

    def _step(self, first: int, data_rank: int, data_size: int) -> Step:
        step = next(iter(self._from(first, data_rank, data_size)))
        if isinstance(step, DnabertError):
            raise step
        return step.micro_batches

    def _from(self, first: int, data_rank: int, data_size: int) -> PackedSteps:
        joined, shape = self._joined(), self._shape()
        return PackedSteps(
            joined,
            self._plan(joined),
            shape,
            masking=Masking(MaskRule(self.k)),
            consumed_samples=first,
            data_parallel_rank=data_rank,
            data_parallel_size=data_size,
        )

    def _joined(self) -> JoinedSets:
        return JoinedSets([ShardSet.open(self.shards, self.k)])

    def _shape(self) -> StepShape:
        return StepShape(self.rows, self.micro_batch_size, self.tokens_per_row, self.max_positions)

    def _plan(self, joined: JoinedSets) -> SamplingPlan:
        return SamplingPlan(joined.stretch_tokens, self._shape().max_tokens, self.seed, "dnabert")

    def firsts(self) -> list[int]:
        """Return the first sample of each step that is taken.

        Raises:
            ConfigError: there are too few of so many samples.
        """
        plan, first, found = self._plan(self._joined()), 0, list[int]()
        ahead = max(64, 2 * (self.samples or 0), 4 * self.rows * self.tokens_per_row // self.max_positions)
        for _ in range(_TRIES * self.num_steps):
            lengths = (plan.samples(first, ahead)["length"] + NUM_ENDS).tolist()
            consumed = pack_step(lengths, self.rows, self.tokens_per_row)[1]
            if self.samples in (None, consumed):
                found.append(first)
                if len(found) == self.num_steps:
                    return found
            first += consumed
        raise ConfigError(
            f"batch.samples={self.samples}: {len(found)} of {_TRIES * self.num_steps:,} steps of {self.rows} "
            f"rows of {self.tokens_per_row} tokens hold so many: give about "
            f"{round(self.rows * self.tokens_per_row / (0.61 * self.max_positions))}"
        )


@dataclass(frozen=True)
class EqualSteps:
    """Steps of one micro batch, of made-up samples that are all of one length."""

    k: int
    seed: int
    length: int
    tokens: int
    num_steps: int

    def steps(self, data_rank: int = 0, data_size: int = 1) -> list[Step]:
        """Make the steps, the same for every data-parallel rank."""
        lengths = [self.length] * (self.tokens // self.length)
        return [(made_up_batch(lengths, k=self.k, seed=self.seed + i),) for i in range(self.num_steps)]


def made_up_shards(folder: Path, *, k: int, bases: int, seed: int) -> Path:
    """Write a genome of random bases and its shards into a new folder; return that of the training set."""
    folder.mkdir(parents=True)
    fasta = folder / "genome.fa.gz"
    write_genome(fasta, bases, seed)
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "shards")),
        ShardSettings(k=k, seed=seed, min_stretch=64, records_per_shard=4096),
        SplitSettings(validation=(), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return folder / "shards" / "train"


@dataclass(frozen=True)
class Sample:
    """One sample, as the model sees it and as it is to be predicted."""

    inputs: Tensor  # int64 [length]: CLS, k-mers, SEP, some masked
    labels: Tensor  # int64 [length]: true ids at masked places, IGNORED elsewhere

    @property
    def ids(self) -> Tensor:
        """Its true ids."""
        return torch.where(self.labels == IGNORED, self.inputs, self.labels)


def samples_of(step: Sequence[MicroBatch]) -> list[Sample]:
    """Take a packed step apart into its samples, in the order of its rows."""
    samples = []
    for batch in step:
        labels = torch.full_like(batch.ids, IGNORED)
        labels[batch.masked_at] = batch.labels
        lengths = list(batch.segment_lengths)
        pieces = zip(torch.split(batch.ids, lengths), torch.split(labels, lengths), strict=True)
        samples += [Sample(ids, label) for ids, label in pieces if ids[0] != PAD]
    return samples


def padded(samples: Sequence[Sample], positions: int) -> tuple[Tensor, Tensor]:
    """Lay samples out as a padded batch: inputs and labels, int64 [S, P]."""
    inputs = torch.full((len(samples), positions), PAD)
    labels = torch.full_like(inputs, IGNORED)
    for row, sample in enumerate(samples):
        inputs[row, : len(sample.inputs)] = sample.inputs
        labels[row, : len(sample.labels)] = sample.labels
    return inputs, labels


def in_padded_rows(batch: MicroBatch, positions: int) -> MicroBatch:
    """Give each sample of a micro batch a row of its own, whose rest is one segment of padding."""
    begins = [0, *accumulate(batch.segment_lengths)][:-1]
    kept = [
        (begin, length)
        for begin, length in zip(begins, batch.segment_lengths, strict=True)
        if batch.ids[begin] != PAD
    ]
    ids = torch.full((len(kept) * positions,), PAD)
    to = torch.zeros_like(batch.ids)  # [T]: where each token goes
    segments: list[int] = []
    for row, (begin, length) in enumerate(kept):
        ids[row * positions : row * positions + length] = batch.ids[begin : begin + length]
        to[begin : begin + length] = torch.arange(length) + row * positions
        segments += [length, positions - length] if length < positions else [length]
    return replace(
        batch,
        ids=ids,
        positions=positions_in(segments),
        segment_lengths=tuple(segments),
        masked_at=to[batch.masked_at],
    )


def mean_attended(steps: Sequence[Sequence[Sample]]) -> float:
    """Return how many tokens a token attends to in the mean, padding left out."""
    lengths = torch.tensor([len(sample.ids) for step in steps for sample in step])
    return float((lengths * lengths).sum() / lengths.sum())
