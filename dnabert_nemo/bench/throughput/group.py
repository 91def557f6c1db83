"""Rows that are measured side by side, each in processes of its own, turn by turn; `worker` works.

Rows that take turns share the machine's moods, and have neither memory nor global state in common.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from dnabert_nemo.bench.throughput.figures import Measured
from dnabert_nemo.bench.throughput.settings import Turns
from dnabert_nemo.bench.throughput.worker import Ask, Failed, Place, Ready, Turn, Work, serve
from dnabert_nemo.megatron.bert_shape import BertShape

_LONGEST = 900.0  # seconds of one answer: a row that hangs is given up
_TO_END = 10.0  # seconds that a process has to end by itself
_IMPORTED_ONCE = [
    "__main__",
    "dnabert_nemo.bench.throughput.parts",
    "transformers.models.bert.modeling_bert",
    "transformers.models.modernbert.modeling_modernbert",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A row: its name, and what its processes do.

    Args:
        threads: of each of its `num_ranks` processes.
        shape: of its model, where our formula of FLOPs is its own.
    """

    name: str
    work: Work
    threads: int
    shape: BertShape | None
    num_ranks: int = 1


def measure(
    title: str, entries: Sequence[Entry], turns: Turns, folder: Path, *, is_gpu: bool
) -> list[Measured]:
    """Measure a group of rows; one that fails says why, and the others go on.

    Args:
        folder: where the ranks of a row find each other.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        teams = [stack.enter_context(_Team(entry, folder, is_gpu)) for entry in entries]
        for team in teams:
            team.wait_until_ready()
        for team in teams:
            if turns.warmup:
                team.turn(Ask(0, turns.warmup, 0), counts=False)
        log.info(f"{title}: {len(teams)} rows are ready, {time.perf_counter() - began:.0f} s")
        for number in range(turns.rounds):
            first = number % len(teams)
            for team in teams[first:] + teams[:first]:
                team.turn(Ask(turns.warmup + number * turns.steps, turns.steps, turns.settle))
            log.info(f"{title}: round {number + 1} of {turns.rounds}, {time.perf_counter() - began:.0f} s")
        return [team.measured() for team in teams]


class _Team:
    """The processes of one row."""

    def __init__(self, entry: Entry, folder: Path, is_gpu: bool) -> None:
        self.entry = entry
        self.ready: Ready | None = None
        self.reason = ""
        self.turns: list[Turn] = []
        context = _context(is_gpu)
        # a name that no other row of this run has
        meeting = str(folder / f"meeting-{time.monotonic_ns()}")
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        for rank in range(entry.num_ranks):
            place = Place(rank, entry.num_ranks, meeting) if entry.num_ranks > 1 else None
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, entry.work, entry.threads, place))
            process.start()
            there.close()
            self._processes.append(process)
            self._pipes.append(here)

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.close()  # which ends a process that waits to be asked
        for process in self._processes:
            process.join(0 if kind or self.reason else _TO_END)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes, self._pipes = [], []

    def wait_until_ready(self) -> None:
        """Wait until the models are made."""
        answers = self._answers()
        self.ready = answers[0] if answers else None

    def turn(self, ask: Ask, *, counts: bool = True) -> None:
        """Let the row take a turn."""
        if self.reason:
            return
        try:
            for pipe in self._pipes:
                pipe.send(ask)
        except BrokenPipeError:
            pass  # the answer tells why
        answers = self._answers()
        if answers and counts:
            self.turns.append(_together(answers))

    def measured(self) -> Measured:
        """Return what was measured."""
        ready = self.ready or Ready()
        turns = () if self.reason else tuple(self.turns)
        return Measured(
            self.entry.name,
            turns,
            self.entry.shape,
            ready.num_micro_batches,
            ready.mean_attended,
            ready.read_share,
            ready.head_share,
            self.reason,
            self.entry.num_ranks,
        )

    def _answers(self) -> list[Any]:
        """Take an answer of each rank; with one that fails the row does, as the others would wait for it."""
        answers: dict[int, Any] = {}
        while len(answers) < len(self._pipes):
            waiting = [pipe for at, pipe in enumerate(self._pipes) if at not in answers]
            heard = wait(waiting, _LONGEST)
            if not heard:
                return self._fail(f"no answer within {_LONGEST:.0f} s")
            for pipe in heard:
                at = self._pipes.index(pipe)  # type: ignore[arg-type]
                try:
                    answers[at] = self._pipes[at].recv()
                except (EOFError, ConnectionResetError):
                    self._processes[at].join(_TO_END)
                    return self._fail(f"its process ended with {self._processes[at].exitcode}")
                if isinstance(answers[at], Failed):
                    return self._fail(answers[at].reason)
        return [answers[at] for at in range(len(self._pipes))]

    def _fail(self, reason: str) -> list[Any]:
        self.reason = reason
        log.info(f"{self.entry.name}: not measured: {reason}")
        self.__exit__(None, None, None)
        return []


def _context(is_gpu: bool) -> Any:
    """Start processes from one that has imported all there is, unless a CUDA driver could be among it."""
    if is_gpu:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def _together(turns: Sequence[Turn]) -> Turn:
    """Put the turns of the ranks of a row together: all tokens, the longest time, the largest memory."""
    longest = max(turns, key=lambda turn: turn.seconds)
    return Turn(
        longest.seconds,
        longest.steps,
        sum(turn.tokens for turn in turns),
        max(turn.peak for turn in turns),
        turns[-1].loss,
        longest.waited,
    )
