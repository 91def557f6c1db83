"""The process of one row: it makes its model, then takes turns as `group` asks."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
import torch.distributed as dist

from dnabert_nemo.bench.throughput.memory import PeakMemory


class Steps(Protocol):
    """What is timed."""

    num_micro_batches: int
    mean_attended: float
    read_share: float
    head_share: float

    def step(self, number: int) -> tuple[float, Any]:
        """Take a step; return its tokens, and its loss where it has one."""
        ...


class Work(Protocol):
    """A row, as it is sent to its process."""

    def load(self) -> Any:
        """Make what is there before the model, whose memory is not the model's."""
        ...

    def start(self, loaded: Any) -> Steps:
        """Make the model."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a rank stands among those of its row, and the file they meet at."""

    rank: int
    world: int
    meeting: str


@dataclass(frozen=True)
class Ready:
    """The model is made; of its steps, what `Measured` says of them."""

    num_micro_batches: int = 1
    mean_attended: float = 0.0
    read_share: float = 1.0
    head_share: float = 1.0


@dataclass(frozen=True)
class Ask:
    """Take `settle` steps that do not count, then `steps`, from number `first` on."""

    first: int
    steps: int
    settle: int


@dataclass(frozen=True)
class Turn:
    """What a turn took.

    Args:
        tokens: without padding.
        peak: bytes, as `PeakMemory` counts them.
        loss: of the last step, None where there is none.
        waited: of the seconds, those that were spent waiting for data.
    """

    seconds: float
    steps: int
    tokens: float
    peak: int
    loss: float | None = None
    waited: float = 0.0


@dataclass(frozen=True)
class Failed:
    """Why a row has no figures."""

    reason: str


def serve(pipe: Connection, work: Work, threads: int, place: Place | None) -> None:
    """Make the row, say so, and answer each Ask with a Turn until None comes or the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to the end
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    try:
        if place is not None:
            _join(place)
        loaded = work.load()
        memory = PeakMemory()
        steps = work.start(loaded)
        pipe.send(Ready(steps.num_micro_batches, steps.mean_attended, steps.read_share, steps.head_share))
        while (ask := pipe.recv()) is not None:
            pipe.send(_turn(ask, steps, memory))
    except (EOFError, BrokenPipeError):  # the parent has gone
        return
    except Exception as error:
        pipe.send(Failed(_reason(error)))


def _join(place: Place) -> None:
    is_cuda = torch.cuda.is_available()
    if is_cuda:
        torch.cuda.set_device(place.rank)
    store = dist.FileStore(place.meeting, place.world)  # type: ignore[attr-defined]
    dist.init_process_group(
        "nccl" if is_cuda else "gloo", store=store, rank=place.rank, world_size=place.world
    )


def _turn(ask: Ask, steps: Steps, memory: PeakMemory) -> Turn:
    for _ in range(ask.settle):
        steps.step(ask.first)
    memory.reset()
    _wait_for_all()
    waited = getattr(steps, "waited", 0.0)
    tokens, loss = 0.0, None
    began = time.perf_counter()
    for number in range(ask.first, ask.first + ask.steps):
        of_step, loss = steps.step(number)
        tokens += of_step
    _wait_for_all()
    seconds = time.perf_counter() - began
    turn = Turn(
        seconds,
        ask.steps,
        tokens,
        memory.peak(),
        None if loss is None else float(loss),
        getattr(steps, "waited", 0.0) - waited,
    )
    if ask.settle and torch.cuda.is_available():
        del loss
        torch.cuda.empty_cache()  # the next row needs the room; that is what settling is for
    return turn


def _wait_for_all() -> None:
    """Wait for the device, and for the other ranks of this row."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "out of memory"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
