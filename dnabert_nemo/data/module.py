"""The Lightning data module of pre-training: shard sets in, loaders of `StepBatch` out, for `training`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.sampling import LengthMix, SamplingPlan, Split
from dnabert_nemo.data.steps import PackedSteps
from dnabert_nemo.data.streaming import StreamedLoader, StreamedSteps
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.masking import default_centre_probability
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.remote import RemoteSet, check_local, is_remote

T = TypeVar("T")


class PretrainingDataModule(LightningDataModule):
    """Loaders of masked, packed steps over a training, a validation and perhaps a test set of shards.

    Training draws DNABERT's lengths without end; validation and test draw full samples, the same ones and the
    same masks each time, and end after `num_validation_samples` (default: one pass). `setup` opens the files.

    Args:
        train, validation, test: folders of shard sets made with this k; train may also be a URL or a command,
            as `RemoteSet` takes it, and is then streamed.
        streaming: stream the training set where it is a folder, too.
        shuffle_buffer: samples of a streamed shard that the next one is drawn from.
        mask_probability: chance that a k-mer is the centre of a masked run; None: about 15 % of tokens are
            masked.
        num_workers: processes that build training steps; validation and test have as many. 0: this one does.
    """

    def __init__(
        self,
        *,
        train: str | Path,
        validation: str | Path,
        test: str | Path | None = None,
        streaming: bool = False,
        shuffle_buffer: int = 8192,
        k: int,
        global_batch_size: int,
        micro_batch_size: int,
        tokens_per_row: int = 8192,
        max_positions: int = 512,
        seed: int,
        mask_probability: float | None = None,
        reverse_complement: bool = False,
        num_validation_samples: int | None = None,
        num_workers: int = 2,
        prefetch_factor: int = 2,
    ) -> None:
        super().__init__()
        paths = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
        self.paths = {split: str(path) for split, path in paths.items() if path is not None}
        self.is_streamed = streaming or is_remote(str(train))
        self.shuffle_buffer = shuffle_buffer
        self.k = k
        self.shape = StepShape(global_batch_size, micro_batch_size, tokens_per_row, max_positions)
        self.seed = seed
        self.mask_probability = (
            default_centre_probability(k) if mask_probability is None else mask_probability
        )
        self.reverse_complement = reverse_complement
        self.num_validation_samples = num_validation_samples
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self._shards: dict[Split, ShardSet] = {}
        self._streamed: RemoteSet | None = None
        self._data_parallel: tuple[int, int] | None = None
        self._consumed_samples = 0

    def check(self, data_parallel_size: int) -> None:
        """Raise ConfigError for settings that cannot work; touches neither files nor devices."""
        self.shape.check(data_parallel_size)
        if not 0 < self.mask_probability <= 1:
            raise ConfigError(
                f"model.data.mask_probability={self.mask_probability} is not above 0 and up to 1: DNABERT's "
                f"is about {default_centre_probability(self.k):.3g} at k={self.k}"
            )
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"model.seed={self.seed} is not in 0..2**64-1: choose a seed that is")

    def set_data_parallel(self, rank: int, size: int) -> None:
        """Say which data-parallel rank this process is; call it before a loader is made.

        Raises:
            ConfigError: the batch sizes do not divide among so many ranks.
        """
        self.check(size)
        self._data_parallel = rank, size

    def set_consumed_samples(self, consumed_samples: int) -> None:
        """Make the next training loader start at this sample, where an earlier run's last step ended."""
        self._consumed_samples = consumed_samples

    def setup(self, stage: str | None = None) -> None:
        """Open all shard sets; a second call does nothing.

        Raises:
            ConfigError: validation or test is a URL.
            ShardError: a set is missing, unfinished, damaged or made for another k.
        """
        if self._shards:
            return
        by_offset = dict(self.paths)
        if self.is_streamed:
            self._streamed = RemoteSet.open(by_offset.pop(Split.TRAIN), self.k)
        for split, path in by_offset.items():
            check_local(f"model.data.{split.name.lower()}", path)
        self._shards = {split: ShardSet.open(path, self.k) for split, path in by_offset.items()}

    @property
    def composition_entropy(self) -> float:
        """The entropy of the validation set's bases in nats: a useful loss per hidden base is below it."""
        return self._shards[Split.VALIDATION].manifest.composition_entropy

    def describe(self) -> str:
        """Return one log line: what each opened set holds."""
        parts = []
        if self._streamed is not None:
            manifest = self._streamed.manifest
            parts.append(f"train {manifest.num_bases:,} bases, streamed in {len(manifest.shards)} shards")
        for split, shards in self._shards.items():
            manifest, windows = shards.manifest, self._plan(split).num_windows
            parts.append(
                f"{split.name.lower()} {manifest.num_bases:,} bases, {windows:,} windows of up to "
                f"{self.shape.max_tokens} {self.k}-mers, base entropy {manifest.composition_entropy:.4f} nats"
            )
        return "; ".join(parts)

    def train_dataloader(self) -> Iterable[StepBatch]:
        """Steps without end, from the count of consumed samples on."""
        if self._streamed is not None:
            return self._streamed_loader(self._streamed)
        return self._loader(self._steps(Split.TRAIN, consumed_samples=self._consumed_samples))

    def _streamed_loader(self, shards: RemoteSet) -> StreamedLoader:
        assert self._data_parallel is not None, "set_data_parallel comes before the loaders"
        rank, size = self._data_parallel
        steps = StreamedSteps(
            shards,
            self.shape,
            k=self.k,
            seed=self.seed,
            mask_probability=self.mask_probability,
            reverse_complement=self.reverse_complement,
            shuffle_buffer=self.shuffle_buffer,
            consumed_samples=self._consumed_samples,
            data_parallel_rank=rank,
            data_parallel_size=size,
        )
        return StreamedLoader(self._loader(steps), steps)

    def val_dataloader(self) -> DataLoader[StepBatch]:
        """The steps of the validation samples, always the same."""
        return self._loader(self._evaluation_steps(Split.VALIDATION))

    def test_dataloader(self) -> DataLoader[StepBatch]:
        """The steps of the test samples, always the same.

        Raises:
            ConfigError: there is no test set.
        """
        if Split.TEST not in self._shards:
            raise ConfigError("no test set: pass model.data.test=FOLDER, a split that prepare_shards wrote")
        return self._loader(self._evaluation_steps(Split.TEST))

    def _evaluation_steps(self, split: Split) -> PackedSteps:
        return self._steps(split, num_samples=self.num_validation_samples or self._plan(split).num_windows)

    def _steps(
        self, split: Split, *, consumed_samples: int = 0, num_samples: int | None = None
    ) -> PackedSteps:
        assert self._data_parallel is not None, "set_data_parallel comes before the loaders"
        rank, size = self._data_parallel
        return PackedSteps(
            self._shards[split],
            self._plan(split),
            self.shape,
            k=self.k,
            mask_probability=self.mask_probability,
            consumed_samples=consumed_samples,
            num_samples=num_samples,
            data_parallel_rank=rank,
            data_parallel_size=size,
        )

    def _plan(self, split: Split) -> SamplingPlan:
        length_mix: LengthMix = "dnabert" if split is Split.TRAIN else "full"
        return SamplingPlan(
            self._shards[split].stretch_tokens,
            self.shape.max_tokens,
            self.seed,
            length_mix,
            reverse_complement=self.reverse_complement,
            split=split,
        )

    def _loader(self, steps: IterableDataset[T]) -> DataLoader[T]:
        workers = {
            # Forked workers start at once and share the set's index with this process; any other way would
            # import NeMo and Megatron in each of them, about ten seconds. Forking after CUDA and the process
            # groups have started is safe as a worker touches neither: it reads files and computes with numpy.
            "multiprocessing_context": "fork",
            "prefetch_factor": self.prefetch_factor,
            "persistent_workers": True,
            "worker_init_fn": _end_with_parent,
        }
        return DataLoader(
            steps,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else a new iterator draws from the global one, which dropout uses
            **(workers if self.num_workers else {}),
        )


def _end_with_parent(worker_id: int) -> None:
    """End this worker soon after its parent is gone, even where it was killed.

    A worker of torch notices that too, but then waits for its queue to be read, which nobody does any more.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
