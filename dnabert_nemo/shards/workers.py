"""Where the jobs of both passes run: in this process, in a pool of processes, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol, TypeVar

from dnabert_nemo.errors import ConfigError, ShardError

Job = TypeVar("Job")
Result = TypeVar("Result")

EXECUTORS = ("processes", "ray")


class Run(Protocol):
    """Runs a function on every job and yields the results in the order of the jobs."""

    def __call__(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]: ...


@dataclass(frozen=True)
class WorkerSettings:
    """Who does the work; what is written does not depend on it.

    Raises:
        ConfigError: the executor is not known, or num_workers is no count.
    """

    executor: str = "processes"
    num_workers: int = 1
    ray_address: str | None = (
        None  # of a running cluster, "auto" for the one this machine is in; None: a local one
    )

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise ConfigError(f"executor={self.executor} is not known: choose {' or '.join(EXECUTORS)}")
        if type(self.num_workers) is not int or self.num_workers < 1:
            raise ConfigError(f"num_workers={self.num_workers}: give a whole number of at least 1")
        if self.ray_address is not None and self.executor != "ray":
            raise ConfigError(f"ray_address={self.ray_address} is for executor=ray: pass that too")


@contextmanager
def workers(settings: WorkerSettings) -> Iterator[Run]:
    """Start the workers and hand out the function that gives them jobs; they end with the block.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
        ShardError: a worker was killed.
    """
    if settings.executor == "ray":
        with _ray(settings) as run:
            yield run
    elif settings.num_workers == 1:
        yield lambda function, jobs: map(function, jobs)
    else:
        # Spawned, not forked: the caller may hold threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(settings.num_workers, context, initializer=_end_with_parent) as pool:
            try:
                yield lambda function, jobs: pool.map(function, jobs)
            except BrokenProcessPool:
                raise ShardError(
                    "a worker process was killed, for want of memory perhaps: run it again with a smaller "
                    "num_workers"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def _ray(settings: WorkerSettings) -> Iterator[Run]:
    try:
        import ray
    except ImportError:
        raise ConfigError("executor=ray needs Ray: pip install dnabert_nemo[ray]") from None

    was_running = ray.is_initialized()
    if not was_running:
        is_local = settings.ray_address is None
        try:
            _check_answers(settings.ray_address)
            ray.init(
                settings.ray_address,
                num_cpus=settings.num_workers if is_local else None,
                include_dashboard=False if is_local else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (OSError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(
                f"ray_address={settings.ray_address}: no Ray cluster answers ({first}): start one with "
                "`ray start`"
            ) from None

    def run(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        remote = ray.remote(function)
        waiting: deque[Any] = deque()
        try:
            for job in jobs:
                waiting.append(remote.remote(job))
                if len(waiting) >= 2 * settings.num_workers:
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            raise ShardError(f"Ray lost a worker ({first}): run it again, with more memory a node") from None
        finally:
            for left in waiting:
                ray.cancel(left, force=True)

    try:
        yield run
    finally:
        if not was_running:
            ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Knock at a cluster, since Ray itself would wait for many minutes; raise OSError if nobody answers."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _end_with_parent() -> None:
    # The workers of a killed run would wait for ever, or write on into the folder of the run after it.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
