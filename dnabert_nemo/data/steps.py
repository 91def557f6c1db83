"""The stream of steps a DataLoader draws from: plans, packs and builds them; `module` makes the loaders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset, get_worker_info

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.loader import told
from dnabert_nemo.data.masked_kmers import Shards, masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape, pack_step
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.errors import DnabertError

_DRAWN_AT_ONCE = 4096  # samples: a draw costs the same for one as for hundreds of each component


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
        ahead = self._drawn(first, _DRAWN_AT_ONCE)
        shape = self.shape
        # about a fifth more than the samples of one step, whose mean length is 0.6 of a full one
        most = shape.global_batch_size * (2 * shape.tokens_per_row // shape.max_positions)
        for step in count():
            while True:
                lengths = (ahead["length"][:most] + NUM_ENDS).tolist()
                rows, consumed = pack_step(lengths, shape.global_batch_size, shape.tokens_per_row)
                if consumed < len(lengths):
                    break
                more = self._drawn(first + len(ahead), _DRAWN_AT_ONCE)  # perhaps more would fit
                if len(ahead) <= most and not len(more):
                    break
                ahead = np.concatenate([ahead, more])
                most = max(most, 2 * len(lengths))
            if consumed == 0:
                return
            if step % num_workers == worker_id:
                yield self._step(first, rows, ahead[:consumed])
            first += consumed
            ahead = ahead[consumed:]

    def _drawn(self, first: int, num_samples: int) -> npt.NDArray[np.void]:
        """Draw samples `first` and those after it, as far as there are any."""
        if self.num_samples is not None:
            num_samples = max(min(num_samples, self.num_samples - first), 0)
        return self.plan.samples(first, num_samples)

    def _step(self, first: int, rows: list[list[int]], samples: npt.NDArray[np.void]) -> StepBatch:
        size = self.shape.micro_batch_size
        rows_per_rank = self.shape.global_batch_size // self.data_parallel_size
        own = rows[self.data_parallel_rank * rows_per_rank :][:rows_per_rank]
        return StepBatch(
            micro_batches=tuple(
                masked_micro_batch(
                    [samples[row] for row in own[at : at + size]],
                    self.shards,
                    self.masking,
                    self.shape,
                )
                for at in range(0, rows_per_rank, size)
            ),
            consumed_samples=first + len(samples),
            num_tokens=int(samples["length"].sum()) + NUM_ENDS * len(samples),
            num_samples=len(samples),
            sample_numbers=tuple(tuple(first + each for each in row) for row in own),
        )
