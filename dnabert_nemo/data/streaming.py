"""The stream of steps over shards that can only be read front to back; beside `steps`, for `module`.

Shards on an object store or behind a command come through `webdataset`, record by record. Which guarantees
this gives, and which reading by offset gives, is docs/decisions/008-two-ways-to-read.md.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.loader import StepLoader, told
from dnabert_nemo.data.masked_kmers import masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape, pack_step
from dnabert_nemo.data.record_draws import draw_samples
from dnabert_nemo.data.sampling import LengthMix, Split
from dnabert_nemo.data.shard_order import ShardOrder, check_streams
from dnabert_nemo.errors import DnabertError, ShardError
from dnabert_nemo.shards.contents import REMEDY, Record, parse_record
from dnabert_nemo.shards.remote import CheckedStream, RemoteSet, first_line

# Beside those of `sampling`: what a generator is for, in the second word of its key.
_SHARDS, _RECORDS, _SHUFFLE = (256 * Split.TRAIN + stream for stream in (16, 17, 18))


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """A sample with its ids, cut from a record that has passed."""

    position: int  # of its shard, in `ShardOrder`
    sample: npt.NDArray[np.void]  # SAMPLE [1]
    ids: npt.NDArray[np.uint16]  # [length]
    is_soft: npt.NDArray[np.bool_] | None  # [length + k - 1] which bases are lower case; None: nobody asks


class StreamedSteps(IterableDataset[StepBatch | DnabertError]):
    """One data-parallel rank's steps, without end, from a count of consumed samples on.

    Every worker streams shards of its own: from each record about as many samples as it makes full ones, then
    a shuffle buffer that lasts for one shard, then rows, first fit; a step has this rank's share of them.
    What a shard gives, and in which order, is a pure function of (seed, epoch, shard). Tensor and pipeline
    peers are one data-parallel rank: they read the same shards, each for itself.

    A step counts as consumed the shards before the one this worker is at; `StreamedLoader` and the model
    take the least of these counts over workers and ranks. A run that resumes there skips no sample, at any
    number of ranks and workers, and sees again what was read of later shards: of every worker the one it was
    at, and perhaps the one before. Its other counts are those of this rank's share (`is_whole` is False).

    Args:
        consumed_samples: where the first step starts, at the edge of a shard or else at the one before it.
        shuffle_buffer: samples held back to draw from.
    """

    def __init__(
        self,
        shards: RemoteSet,
        shape: StepShape,
        *,
        masking: Masking,
        seed: int,
        length_mix: LengthMix = "dnabert",
        reverse_complement: bool = False,
        shuffle_buffer: int = 8192,
        consumed_samples: int = 0,
        data_parallel_rank: int = 0,
        data_parallel_size: int = 1,
    ) -> None:
        self.shards = shards
        self.shape = shape
        self.masking = masking
        self.seed = seed
        self.length_mix: LengthMix = length_mix
        self.reverse_complement = reverse_complement
        self.shuffle_buffer = shuffle_buffer
        self.data_parallel_rank = data_parallel_rank
        self.data_parallel_size = data_parallel_size
        self.order = ShardOrder(shards.manifest.shards, shape.max_tokens, seed, _SHARDS)
        self.first_position = self.order.position_of(consumed_samples)
        self._ratios = _ratios(shards)

    def __iter__(self) -> Iterator[StepBatch | DnabertError]:
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return told(self._steps(worker_id, num_workers))

    def _steps(self, worker_id: int, num_workers: int) -> Iterator[StepBatch]:
        stream = worker_id * self.data_parallel_size + self.data_parallel_rank
        num_streams = self.data_parallel_size * num_workers
        positions = self.order.positions(self.first_position, stream, num_streams)
        samples = chain.from_iterable(map(self.samples_at, positions))
        left: list[Drawn] = []
        while True:
            taken: list[Drawn] = []
            rows, consumed = pack_step(
                _lengths(chain(left, samples), taken),
                self.shape.global_batch_size // self.data_parallel_size,
                self.shape.tokens_per_row,
            )
            left = taken[consumed:]
            yield self._step(taken[:consumed], rows, before=left[0].position)

    def samples_at(self, position: int) -> Iterator[Drawn]:
        """Stream one shard: its samples, shuffled.

        Raises:
            ShardError: it is missing, damaged or cut off; says at which record.
        """
        epoch, shard = self.order.at(position)
        words = np.random.Philox(key=_key(self.seed, _SHUFFLE), counter=_counter(epoch, shard)).random_raw(1)
        return iter(
            wds.DataPipeline(
                partial(self._records, shard),
                partial(self._draw, position),
                wds.shuffle(
                    self.shuffle_buffer, initial=self.shuffle_buffer, rng=random.Random(int(words[0]))
                ),
            )
        )

    def _records(self, shard: int) -> Iterator[Record]:
        url, expected = self.shards.url(shard), self.shards.manifest.shards[shard].num_records
        after = "at its beginning"
        num_records = 0
        try:
            with self.shards.reading(shard) as stream:
                for parts in _grouped(url, stream):
                    key = parts.pop("__key__")
                    del parts["__url__"]
                    after = f"record {key}"
                    record = parse_record(key, parts, self.shards.manifest)
                    if not self._ratios.keys() >= set(record.components):
                        raise ValueError("json: a component that the manifest does not have")
                    yield record
                    after = f"after record {key}"
                    num_records += 1
                # A damaged header ends a tar without a word.
                if num_records != expected:
                    raise ValueError(f"{num_records} records, {expected} in the manifest")
                after = "at its end"
                stream.check()
        except DnabertError:
            raise
        except Exception as error:  # every file system has errors of its own
            raise ShardError(f"{url}, {after}: {_said(error)}: {REMEDY}") from error

    def _draw(self, position: int, records: Iterable[Record]) -> Iterator[Drawn]:
        epoch, shard = self.order.at(position)
        key = _key(self.seed, _RECORDS)
        for number, record in enumerate(records):
            samples = draw_samples(
                record.tokens,
                np.array([self._ratios[name] for name in record.components]),
                self.shape.max_tokens,
                np.random.Philox(key=key, counter=_counter(epoch, shard, number)),
                self.length_mix,
                reverse_complement=self.reverse_complement,
            )
            for at, (stretch, start, length, _, _) in enumerate(samples.tolist()):
                first = int(record.offsets[stretch]) + start
                ids = record.ids[first : first + length].copy()
                is_soft = None
                if self.masking.soft_masked_weight < 1:
                    is_soft = record.soft_mask(stretch, start, length + self.masking.rule.k - 1)
                yield Drawn(position, samples[at : at + 1], ids, is_soft)

    def _step(self, taken: list[Drawn], rows: list[list[int]], before: int) -> StepBatch:
        samples = np.concatenate([drawn.sample for drawn in taken])
        samples["stretch"] = np.arange(len(taken))
        samples["start"] = 0
        held = _Held(taken)
        size = self.shape.micro_batch_size
        return StepBatch(
            micro_batches=tuple(
                masked_micro_batch(
                    [samples[row] for row in rows[at : at + size]],
                    held,
                    self.masking,
                    self.shape,
                )
                for at in range(0, len(rows), size)
            ),
            consumed_samples=self.order.samples_before(before),
            num_tokens=int(samples["length"].sum()) + NUM_ENDS * len(samples),
            num_samples=len(samples),
            is_whole=False,
        )


class StreamedLoader:
    """A rank's loader of streamed steps, which count as consumed what all of its workers have finished.

    Each worker knows of its own shards alone. What the workers have prepared ahead does not count.

    Raises:
        ConfigError: there are more workers, over all ranks, than shards.
        ShardError: while steps are taken, of a shard that is missing or damaged.
    """

    def __init__(self, loader: StepLoader[StepBatch], steps: StreamedSteps) -> None:
        check_streams(len(steps.shards.manifest.shards), steps.data_parallel_size, loader.num_workers)
        self.loader = loader
        self.steps = steps

    def __iter__(self) -> Iterator[StepBatch]:
        num_workers = max(self.loader.num_workers, 1)
        start = self.steps.order.samples_before(self.steps.first_position)
        finished = deque([start] * num_workers, maxlen=num_workers)  # the workers take turns
        for step in self.loader:
            finished.append(step.consumed_samples)
            yield replace(step, consumed_samples=min(finished))


@dataclass(frozen=True)
class _Held:
    """Reads like a `ShardSet` whose stretches are the samples of one step."""

    drawn: list[Drawn]

    def read(self, stretch: int, first: int, count: int) -> npt.NDArray[np.uint16]:
        return self.drawn[stretch].ids[first : first + count]

    def read_soft_mask(self, stretch: int, first: int, count: int) -> npt.NDArray[np.bool_]:
        is_soft = self.drawn[stretch].is_soft
        assert is_soft is not None
        return is_soft[first : first + count]


def _grouped(url: str, stream: CheckedStream) -> Iterator[dict[str, Any]]:
    files = tar_file_expander([{"url": url, "stream": stream}])
    yield from group_by_keys(files)


def _said(error: Exception) -> str:
    # webdataset adds the stream and the URL to what an error says.
    is_text = error.args and isinstance(error.args[0], str)
    return error.args[0].split(" @ <")[0] if is_text else first_line(error)


def _lengths(samples: Iterable[Drawn], taken: list[Drawn]) -> Iterator[int]:
    for drawn in samples:
        taken.append(drawn)
        yield len(drawn.ids) + NUM_ENDS


def _ratios(shards: RemoteSet) -> dict[str, float]:
    """Return how much more often each component is to be read than by its tokens, by name."""
    manifest = shards.manifest
    return {
        one.name: one.weight * manifest.num_tokens / one.num_tokens
        for one in manifest.components
        if one.num_tokens
    }


def _key(seed: int, use: int) -> npt.NDArray[np.uint64]:
    return np.array([seed, use], dtype=np.uint64)


def _counter(epoch: int, shard: int, record: int = 0) -> npt.NDArray[np.uint64]:
    return np.array([0, record, shard, epoch], dtype=np.uint64)
