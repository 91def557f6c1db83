"""Takes steps from worker processes, whose failures become one clear error; `module` makes the loaders."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dnabert_nemo.errors import DnabertError, ShardError

T = TypeVar("T")


def told(steps: Iterator[T]) -> Iterator[T | DnabertError]:
    """Pass steps on; in a worker process yield an error as the last of them, for `StepLoader` to raise.

    Raised in a worker it would come as a traceback within one, and each worker would take 5 seconds to end.
    """
    try:
        yield from steps
    except DnabertError as error:
        if get_worker_info() is None:
            raise
        yield error


class StepLoader(Generic[T]):
    """Takes a dataset's steps from `num_workers` processes in turn; with 0 this process makes them.

    Args:
        prefetch_factor: steps that each worker makes ahead.

    Raises:
        DnabertError: while steps are taken, what went wrong in a worker, which the dataset yields as an item.
        ShardError: a worker was killed.
    """

    def __init__(
        self, steps: IterableDataset[T | DnabertError], num_workers: int, prefetch_factor: int
    ) -> None:
        workers = {
            # Forked workers start at once and share the set's index with this process; any other way would
            # import NeMo and Megatron in each of them, about ten seconds. Forking after CUDA and the process
            # groups have started is safe as a worker touches neither: it reads files and computes with numpy.
            "multiprocessing_context": "fork",
            "prefetch_factor": prefetch_factor,
            "persistent_workers": True,
            "worker_init_fn": _end_with_parent,
        }
        self.num_workers = num_workers
        self._loader = DataLoader(
            steps,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else a new iterator draws from the global one, which dropout uses
            **(workers if num_workers else {}),
        )

    def __iter__(self) -> Iterator[T]:
        try:
            for step in self._loader:
                if isinstance(step, DnabertError):
                    try:
                        raise step
                    finally:
                        del step  # else error and frame hold each other, and the workers, for 5 seconds each
                yield step
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ShardError(
                "a worker process of the data loader was killed, for want of memory perhaps: start the run "
                f"again, it resumes; fewer workers than model.data.num_workers={self.num_workers} take less"
            ) from None


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
