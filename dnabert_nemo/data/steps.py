"""The stream of steps a DataLoader draws from: plans, packs and builds them; `module` makes the loaders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from torch.utils.data import IterableDataset, get_worker_info

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.loader import told
from dnabert_nemo.data.masked_kmers import Shards, masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape, pack_step
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.errors import DnabertError


class PackedSteps(IterableDataset[StepBatch | DnabertError]):
    """One data-parallel rank's steps, in order, from a count of consumed samples on.

    The stream depends on that count alone: not on the number of workers nor, for the rows of a step taken
    together, on that of ranks. Every worker packs every step, which takes only the samples' lengths, and
    builds each num_workers-th; the DataLoader takes its workers in turn and so restores the order.

    Args:
        consumed_samples: the sample the first step starts with.
        num_samples: the stream ends before this sample, with a last step that may leave rows empty; None: it
            never ends.
    """

    def __init__(
        self,
        shards: Shards,
        plan: SamplingPlan,
        shape: StepShape,
        *,
        masking: Masking,
        consumed_samples: int = 0,
        num_samples: int | None = None,
        data_parallel_rank: int = 0,
        data_parallel_size: int = 1,
    ) -> None:
        self.shards = shards
        self.plan = plan
        self.shape = shape
        self.masking = masking
        self.consumed_samples = consumed_samples
        self.num_samples = num_samples
        self.data_parallel_rank = data_parallel_rank
        self.data_parallel_size = data_parallel_size

    def __iter__(self) -> Iterator[StepBatch | DnabertError]:
        return told(self._steps())

    def _steps(self) -> Iterator[StepBatch]:
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        first = self.consumed_samples
        for step in count():
            rows, consumed = pack_step(
                self._lengths(first), self.shape.global_batch_size, self.shape.tokens_per_row
            )
            if consumed == 0:
                return
            if step % num_workers == worker_id:
                yield self._step(first, rows, consumed)
            first += consumed

    def _lengths(self, first: int) -> Iterator[int]:
        """Yield the tokens of sample `first` and of each after it, CLS and SEP included."""
        shape = self.shape
        # about a fifth more than the samples of one step, whose mean length is 0.6 of a full one
        block = shape.global_batch_size * (2 * shape.tokens_per_row // shape.max_positions)
        while self.num_samples is None or first < self.num_samples:
            if self.num_samples is not None:
                block = min(block, self.num_samples - first)
            yield from (self.plan.samples(first, block)["length"] + NUM_ENDS).tolist()
            first += block

    def _step(self, first: int, rows: list[list[int]], consumed: int) -> StepBatch:
        samples = self.plan.samples(first, consumed)
        size = self.shape.micro_batch_size
        rows_per_rank = self.shape.global_batch_size // self.data_parallel_size
        own = range(self.data_parallel_rank * rows_per_rank, (self.data_parallel_rank + 1) * rows_per_rank)
        return StepBatch(
            micro_batches=tuple(
                masked_micro_batch(
                    [samples[rows[row]] for row in own[at : at + size]],
                    self.shards,
                    self.masking,
                    self.shape,
                )
                for at in range(0, rows_per_rank, size)
            ),
            consumed_samples=first + consumed,
            num_tokens=int(samples["length"].sum()) + NUM_ENDS * consumed,
            num_samples=consumed,
        )
