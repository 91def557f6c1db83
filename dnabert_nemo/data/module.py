"""The Lightning data module of pre-training: shard sets in, loaders of `StepBatch` out, for `training`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.joined import JoinedSets
from dnabert_nemo.data.loader import StepLoader
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.data.sampling import LENGTH_MIXES, LengthMix, SamplingPlan, Split
from dnabert_nemo.data.steps import PackedSteps
from dnabert_nemo.data.streaming import StreamedLoader, StreamedSteps
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.remote import RemoteSet, check_local


class PretrainingDataModule(LightningDataModule):
    """Loaders of masked, packed steps over a training, a validation and perhaps a test set of shards.

    Training draws samples without end. Validation and test draw full samples, the same ones and the same
    masks each time, and end after `num_validation_samples` (default: one pass). `setup` opens the files.

    Args:
        shuffle_buffer: samples of a streamed shard that the next one is drawn from.
        num_workers: processes that build training steps; validation and test have as many. 0: this one does.
        verify_checksums: read all sets whole at first, and hold them against their checksums.
    """

    def __init__(
        self,
        paths: DataPaths,
        shape: StepShape,
        masking: Masking,
        *,
        seed: int,
        length_mix: LengthMix = "dnabert",
        reverse_complement: bool = False,
        num_validation_samples: int | None = None,
        shuffle_buffer: int = 8192,
        num_workers: int = 2,
        prefetch_factor: int = 2,
        verify_checksums: bool = False,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.shape = shape
        self.masking = masking
        self.k = masking.rule.k
        self.seed = seed
        self.length_mix: LengthMix = length_mix
        self.reverse_complement = reverse_complement
        self.num_validation_samples = num_validation_samples
        self.shuffle_buffer = shuffle_buffer
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.verify_checksums = verify_checksums
        self._train: JoinedSets | RemoteSet | None = None
        self._shards: dict[Split, ShardSet] = {}  # of validation and test
        self._data_parallel: tuple[int, int] | None = None
        self._consumed_samples = 0

    def check(self, data_parallel_size: int) -> None:
        """Raise ConfigError for settings that cannot work; touches neither files nor devices."""
        self.shape.check(data_parallel_size)
        if self.length_mix not in LENGTH_MIXES:
            known = " or ".join(LENGTH_MIXES)
            raise ConfigError(f"model.data.length_mix={self.length_mix} is not known: choose {known}")
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
        if self._train is not None:
            return
        for split, path in ((Split.VALIDATION, self.paths.validation), (Split.TEST, self.paths.test)):
            if path is not None:
                check_local(f"model.data.{split.name.lower()}", path)
                self._shards[split] = self._opened(path)
        if self.paths.is_streamed:
            self._train = RemoteSet.open(self.paths.train[0], self.k)
        else:
            self._train = JoinedSets(list(map(self._opened, self.paths.train)), self.paths.train_weights)

    def _opened(self, path: str | Path) -> ShardSet:
        return ShardSet.open(path, self.k, verify=self.verify_checksums)

    @property
    def composition_entropy(self) -> float:
        """The entropy of the validation set's bases in nats: a useful loss per hidden base is below it."""
        return self._shards[Split.VALIDATION].manifest.composition_entropy

    def hashes(self) -> dict[str, list[str]]:
        """Return the sha256 of each opened set's manifest, which has those of its shards, by split."""
        assert self._train is not None
        train = [self._train] if isinstance(self._train, RemoteSet) else self._train.sets
        sets = {Split.TRAIN: train, **{split: [shards] for split, shards in self._shards.items()}}
        return {split.name.lower(): [each.manifest.sha256 for each in of] for split, of in sets.items()}

    def describe(self) -> str:
        """Return one log line: what each opened set holds."""
        assert self._train is not None
        if isinstance(self._train, RemoteSet):
            manifest = self._train.manifest
            parts = [f"train {manifest.num_bases:,} bases, streamed in {len(manifest.shards)} shards"]
            components = manifest.components
        else:
            parts = [self._described(Split.TRAIN, self._train.sets)]
            components = tuple(one for each in self._train.sets for one in each.manifest.components)
        if len(components) > 1:
            parts[0] += f", {len(components)} components by weight"
        return "; ".join(parts + [self._described(split, [shards]) for split, shards in self._shards.items()])

    def _described(self, split: Split, sets: Sequence[ShardSet]) -> str:
        num_bases = sum(each.manifest.num_bases for each in sets)
        entropy = "" if len(sets) > 1 else f", base entropy {sets[0].manifest.composition_entropy:.4f} nats"
        windows = self._plan(split, JoinedSets(sets)).num_windows
        return (
            f"{split.name.lower()} {num_bases:,} bases, {windows:,} windows of up to {self.shape.max_tokens} "
            f"{self.k}-mers{entropy}"
        )

    def train_dataloader(self) -> Iterable[StepBatch]:
        """Steps without end, from the count of consumed samples on."""
        assert self._train is not None
        if isinstance(self._train, RemoteSet):
            return self._streamed_loader(self._train)
        plan = self._plan(Split.TRAIN, self._train)
        return self._loader(self._train, plan, consumed_samples=self._consumed_samples)

    def val_dataloader(self) -> Iterable[StepBatch]:
        """The steps of the validation samples, always the same."""
        return self._evaluation_loader(Split.VALIDATION)

    def transfer_batch_to_device(
        self, batch: StepBatch, device: torch.device, dataloader_idx: int
    ) -> StepBatch:
        """Copy a step to the device without waiting for it: its loader has pinned it in memory."""
        return batch.to(device, non_blocking=True)

    def test_dataloader(self) -> Iterable[StepBatch]:
        """The steps of the test samples, always the same.

        Raises:
            ConfigError: there is no test set.
        """
        if Split.TEST not in self._shards:
            raise ConfigError("no test set: pass model.data.test=FOLDER, a split that prepare_shards wrote")
        return self._evaluation_loader(Split.TEST)

    def _evaluation_loader(self, split: Split) -> StepLoader[StepBatch]:
        shards = JoinedSets([self._shards[split]])
        plan = self._plan(split, shards)
        return self._loader(shards, plan, num_samples=self.num_validation_samples or plan.num_windows)

    def _plan(self, split: Split, shards: JoinedSets) -> SamplingPlan:
        # One pass over a validation set takes every window once, whatever the weights in training.
        is_train = split is Split.TRAIN
        return SamplingPlan(
            shards.stretch_tokens,
            self.shape.max_tokens,
            self.seed,
            self.length_mix if is_train else "full",
            reverse_complement=self.reverse_complement,
            split=split,
            component=shards.stretch_component if is_train else None,
            weights=shards.component_weights if is_train else None,
        )

    def _loader(
        self,
        shards: JoinedSets,
        plan: SamplingPlan,
        *,
        consumed_samples: int = 0,
        num_samples: int | None = None,
    ) -> StepLoader[StepBatch]:
        assert self._data_parallel is not None, "set_data_parallel comes before the loaders"
        rank, size = self._data_parallel
        steps = PackedSteps(
            shards,
            plan,
            self.shape,
            masking=self.masking,
            consumed_samples=consumed_samples,
            num_samples=num_samples,
            data_parallel_rank=rank,
            data_parallel_size=size,
        )
        return StepLoader(steps, self.num_workers, self.prefetch_factor)

    def _streamed_loader(self, shards: RemoteSet) -> StreamedLoader:
        assert self._data_parallel is not None, "set_data_parallel comes before the loaders"
        rank, size = self._data_parallel
        steps = StreamedSteps(
            shards,
            self.shape,
            masking=self.masking,
            seed=self.seed,
            length_mix=self.length_mix,
            reverse_complement=self.reverse_complement,
            shuffle_buffer=self.shuffle_buffer,
            consumed_samples=self._consumed_samples,
            data_parallel_rank=rank,
            data_parallel_size=size,
        )
        return StreamedLoader(StepLoader(steps, self.num_workers, self.prefetch_factor), steps)
