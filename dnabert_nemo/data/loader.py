"""Takes steps from worker processes, whose failures become one clear error; `module` makes the loaders."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dnabert_nemo.errors import DnabertError

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
        DnabertError: a worker was killed; that can come at any time, from the first step on.
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
            steps = iter(self._loader)
            if self.num_workers:
                _tell_of_killed_workers(self.num_workers)
            for step in steps:
                if isinstance(step, DnabertError):
                    try:
                        raise step
                    finally:
                        del step  # else error and frame hold each other, and the workers, for 5 seconds each
                yield step
        except RuntimeError as error:
            if _IS_KILLED not in str(error):
                raise
            raise _killed(error, self.num_workers) from None


_ASK_TO_STOP = (signal.SIGTERM, signal.SIGUSR1)
_IS_KILLED = "DataLoader worker"  # how torch's message begins


def _tell_of_killed_workers(num_workers: int) -> None:
    """See to it that a worker's end is told as our error, wherever this process is when it comes.

    That is mostly in the middle of a training step, where torch's signal handler raises an error of its own.
    """
    torchs = signal.getsignal(signal.SIGCHLD)
    if isinstance(torchs, partial) and torchs.func is _on_end_of_a_child:  # of a loader before this one
        torchs = torchs.args[0]
    if callable(torchs) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, partial(_on_end_of_a_child, torchs, num_workers))


def _on_end_of_a_child(torchs: Callable[..., Any], num_workers: int, signum: int, frame: Any) -> None:
    try:
        torchs(signum, frame)
    except RuntimeError as error:
        raise _killed(error, num_workers) from None


def _killed(error: RuntimeError, num_workers: int) -> DnabertError:
    if isinstance(error.__cause__, DnabertError):  # the signal came while torch waited for a step
        return error.__cause__
    what = str(error).splitlines()[0].rstrip(". ")
    return DnabertError(
        f"{what}: mostly that is for want of memory: start the run again, it resumes; fewer workers than "
        f"model.data.num_workers={num_workers} take less"
    )


def _end_with_parent(worker_id: int) -> None:
    """End this worker soon after its parent is gone, even where it was killed, or asks for it.

    A worker of torch notices the first too, but then waits for its queue to be read, which nobody does any
    more. A signal from elsewhere that asks the run to stop goes to its whole process group: the run ends its
    step and saves first, for which it needs its workers.
    """
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ASK_TO_STOP)

    def watch() -> None:
        while os.getppid() == parent:
            asked = signal.sigtimedwait(_ASK_TO_STOP, 1)
            if asked is not None and asked.si_pid == parent:
                break
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
