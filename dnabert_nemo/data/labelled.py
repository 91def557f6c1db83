"""Labelled sequences for a classifier: windows in, packed batches of tokens (or of ready features) out.

Shapes: T tokens of a micro batch, B samples in it, P tokens of these that are pooled, H hidden.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from dnabert_nemo.data.packing import NUM_ENDS
from dnabert_nemo.data.pooling import pooled
from dnabert_nemo.data.whitening import Whitening
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import encode
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.vocabulary import CLS, PAD, SEP


@dataclass(frozen=True)
class LabelledBatch:
    """Some whole samples, end to end; each is one segment. With `features` there are no tokens."""

    ids: Tensor  # int64 [T]
    positions: Tensor  # int64 [T]
    segment_lengths: tuple[int, ...]  # sums to T; what pads the batch is segments of its own
    pooled_at: Tensor  # int64 [P]: where in T the tokens are that stand for the samples, in order
    pooled_lengths: tuple[int, ...]  # [B]: how many each sample has; sums to P
    labels: Tensor  # int64 [B]
    features: Tensor | None = None  # [B, H]

    @property
    def read_at(self) -> Tensor:
        """Where in T the last layer's output is read."""
        return self.pooled_at

    @property
    def read_lengths(self) -> tuple[int, ...]:
        """How many of these places each segment has: none in those that pad."""
        padding = len(self.segment_lengths) - len(self.pooled_lengths)
        return self.pooled_lengths + (0,) * padding

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LabelledBatch:
        """Copy every tensor to a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{
                name: v.to(device, non_blocking=non_blocking)
                for name, v in values.items()
                if isinstance(v, Tensor)
            },
        )


@dataclass(frozen=True)
class LabelledStep:
    """One data-parallel rank's part of one step."""

    micro_batches: tuple[LabelledBatch, ...]
    consumed_samples: int  # over all ranks and epochs, at the end of this step
    num_tokens: int = 0  # of its samples over all ranks, with CLS and SEP; features have none

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LabelledStep:
        """Copy every tensor to a device."""
        return replace(
            self, micro_batches=tuple(each.to(device, non_blocking) for each in self.micro_batches)
        )


class LabelledSequences:
    """Sequences of A, C, G and T with integer labels.

    Args:
        pooling: one of POOLINGS, what stands for a sequence.
        multiple_of: the room of a sequence is that of the longest, as a multiple of this, if the model has as
            much.
        one_size: every batch has that room for each of its samples, as the stages of a pipeline and compiled
            layers want it; else as much as its own samples take, as a multiple of `multiple_of`.

    Raises:
        ConfigError: a sequence has no k-mer, or more than the model has positions.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        labels: Sequence[int],
        *,
        k: int,
        max_positions: int,
        pooling: str = "centre",
        multiple_of: int = 16,
        one_size: bool = True,
    ) -> None:
        self.pooling, self.multiple_of, self.one_size = pooling, multiple_of, one_size
        self.labels = np.asarray(labels, dtype=np.int64)
        self.kmers = [kmer_ids(encode(sequence), k).astype(np.int64) for sequence in sequences]
        self.features: Tensor | None = None
        longest = max(map(len, self.kmers), default=0) + NUM_ENDS
        if longest > max_positions:
            raise ConfigError(
                f"a sequence of the dataset takes {longest} tokens and "
                f"model.max_position_embeddings={max_positions}: "
                "make the windows shorter, or use a model with more positions"
            )
        if not all(map(len, self.kmers)):
            raise ConfigError(
                f"a sequence of the dataset has fewer than the {k} bases of a k-mer: leave it out, or use a "
                "model with a smaller k"
            )
        self.room = min(max_positions, -(-longest // multiple_of) * multiple_of)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """A hash, in hex, of the sequences and their labels in order."""
        found = hashlib.sha256(self.labels.tobytes())
        for kmers in self.kmers:
            found.update(np.int64(len(kmers)).tobytes() + kmers.tobytes())
        return found.hexdigest()

    def batch(self, samples: np.ndarray, num_samples: int) -> LabelledBatch:
        """Lay the samples end to end in a room for `num_samples`, or in their own, the rest PAD."""
        labels = torch.from_numpy(self.labels[samples])
        none = torch.empty(0, dtype=torch.int64)
        if self.features is not None:
            return LabelledBatch(none, none, (), none, (), labels, self.features[torch.from_numpy(samples)])
        ids = np.full(self._tokens(samples, num_samples), PAD, dtype=np.int64)
        lengths: list[int] = []
        pooled_at: list[int] = []
        pooled_lengths: list[int] = []
        at = 0
        for sample in samples:
            kmers = self.kmers[sample]
            ids[at], ids[at + 1 : at + 1 + len(kmers)], ids[at + 1 + len(kmers)] = CLS, kmers, SEP
            places = pooled(self.pooling, len(kmers))
            pooled_at.extend(range(at + places.start, at + places.stop))
            pooled_lengths.append(len(places))
            lengths.append(len(kmers) + NUM_ENDS)
            at += lengths[-1]
        full, rest = divmod(len(ids) - at, self.room)
        lengths += [self.room] * full + [rest] * (rest > 0)
        return LabelledBatch(
            ids=torch.from_numpy(ids),
            positions=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
            segment_lengths=tuple(lengths),
            pooled_at=torch.tensor(pooled_at, dtype=torch.int64),
            pooled_lengths=tuple(pooled_lengths),
            labels=labels,
        )

    def _tokens(self, samples: np.ndarray, num_samples: int) -> int:
        """Return the tokens T of a batch; there is one at least, as a rank may have no sample left."""
        most = num_samples * self.room
        if self.one_size:
            return most
        taken = sum(len(self.kmers[sample]) + NUM_ENDS for sample in samples)
        return min(most, -(-max(taken, 1) // self.multiple_of) * self.multiple_of)


@dataclass(frozen=True)
class SampleShape:
    """How a step's samples are shared out; sizes count samples, the first over all data-parallel ranks."""

    global_batch_size: int
    micro_batch_size: int

    def check(self, data_parallel_size: int) -> None:
        """Raise ConfigError, naming the override, where the samples cannot be shared out."""
        if min(self.global_batch_size, self.micro_batch_size) < 1 or self.global_batch_size % (
            self.micro_batch_size * data_parallel_size
        ):
            raise ConfigError(
                f"model.global_batch_size={self.global_batch_size} is not a multiple of "
                "model.micro_batch_size="
                f"{self.micro_batch_size} x {data_parallel_size} data-parallel ranks: change one of them"
            )


class LabelledSteps(IterableDataset[LabelledStep]):
    """One rank's steps over a dataset: in order once, or (with a seed) shuffled anew each epoch without end.

    Sample i of epoch e is the same for a seed whatever the ranks, so a run goes on from its count of samples.
    """

    def __init__(
        self,
        data: LabelledSequences,
        shape: SampleShape,
        *,
        seed: int | None,
        consumed_samples: int = 0,
        data_parallel_rank: int = 0,
        data_parallel_size: int = 1,
    ) -> None:
        self.data, self.shape, self.seed, self.consumed_samples = data, shape, seed, consumed_samples
        self.rank, self.size = data_parallel_rank, data_parallel_size

    def __iter__(self) -> Iterator[LabelledStep]:
        epoch, within = divmod(self.consumed_samples, len(self.data))
        while True:
            order = np.arange(len(self.data))
            if self.seed is not None:
                order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(order)
            for first in range(within, len(order), self.shape.global_batch_size):
                samples = order[first : first + self.shape.global_batch_size]
                yield self._step(samples, epoch * len(order) + first + len(samples))
            if self.seed is None:
                return
            epoch, within = epoch + 1, 0

    def _step(self, samples: np.ndarray, consumed: int) -> LabelledStep:
        share, size = self.shape.global_batch_size // self.size, self.shape.micro_batch_size
        own = samples[self.rank * share : (self.rank + 1) * share]
        batches = tuple(self.data.batch(own[at : at + size], size) for at in range(0, share, size))
        kmers = [] if self.data.features is not None else [self.data.kmers[sample] for sample in samples]
        return LabelledStep(batches, consumed, sum(len(own) + NUM_ENDS for own in kmers))


class LabelledDataModule(LightningDataModule):
    """Loaders of `LabelledStep` over a train and a validation split."""

    def __init__(
        self, train: LabelledSequences, validation: LabelledSequences, shape: SampleShape, *, seed: int
    ) -> None:
        super().__init__()
        self.train, self.validation, self.shape, self.seed = train, validation, shape, seed
        self.whitening: Whitening | None = None
        self._data_parallel = 0, 1
        self._consumed_samples = 0

    def hashes(self) -> dict[str, list[str]]:
        """Return a hash of the sequences and labels of each split."""
        return {"train": [self.train.sha256], "validation": [self.validation.sha256]}

    def set_data_parallel(self, rank: int, size: int) -> None:
        """Say which data-parallel rank this process is; call it before a loader is made."""
        self.shape.check(size)
        self._data_parallel = rank, size

    def set_consumed_samples(self, consumed_samples: int) -> None:
        """Make the next training loader start where an earlier run's last step ended."""
        self._consumed_samples = consumed_samples

    def cache_features(self, features_of: Callable[[LabelledSequences], Tensor]) -> Whitening:
        """Let a frozen encoder see every sequence once; batches then carry what it made of them [B, H].

        They are whitened by those of training; what did that is returned.
        """
        if self.whitening is None:
            train, validation = features_of(self.train), features_of(self.validation)
            self.whitening = Whitening.of(train)
            self.train.features = self.whitening.apply(train)
            self.validation.features = self.whitening.apply(validation)
        return self.whitening

    def train_dataloader(self) -> DataLoader[LabelledStep]:
        """Shuffled steps without end, from the count of consumed samples on."""
        return self._loader(self.train, self.seed, self._consumed_samples)

    def val_dataloader(self) -> DataLoader[LabelledStep]:
        """The validation samples, once and in order."""
        return self._loader(self.validation, None, 0)

    def _loader(self, data: LabelledSequences, seed: int | None, consumed: int) -> DataLoader[LabelledStep]:
        rank, size = self._data_parallel
        steps = LabelledSteps(
            data,
            self.shape,
            seed=seed,
            consumed_samples=consumed,
            data_parallel_rank=rank,
            data_parallel_size=size,
        )
        return DataLoader(steps, batch_size=None, generator=torch.Generator())
