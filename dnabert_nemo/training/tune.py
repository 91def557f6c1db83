"""`python -m dnabert_nemo tune`: the micro batch to train with, found by training steps on this device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import Device, Kernels, choose
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.check import check_but_data, sizes_of
from dnabert_nemo.training.free_memory import free_memory
from dnabert_nemo.training.micro_batch import USED, divisors
from dnabert_nemo.training.plan import Plan, checked, plan_of
from dnabert_nemo.training.plan_report import remedy
from dnabert_nemo.training.precision import choose as choose_precision
from dnabert_nemo.training.precision import has_transformer_engine
from dnabert_nemo.training.tune_process import Request, run

MARGIN = 0.9  # of the memory; the rest is for what a run holds besides, and for rows that differ
AS_FAST = 0.98  # of the speed of the recommended size
_OF_FREE = 0.9  # of a machine's free memory, beyond which it might swap


@dataclass(frozen=True)
class Tried:
    """A size that was tried; peak is bytes, both figures None where memory did not suffice."""

    rows: int
    tokens: int  # of a micro batch
    fits: bool
    peak: int | None = None
    tokens_per_second: float | None = None  # of a whole step, without padding


@dataclass(frozen=True)
class Tuning:
    """What is tuned: a checked config on a device."""

    config_name: str
    overrides: list[str]
    config_dir: str | None
    device: str
    on_gpu: bool
    memory: int  # bytes that may be used
    plans: dict[int, Plan]  # of each size a step allows, by its rows
    data_size: int

    @property
    def predicted(self) -> int:
        """The most rows that are planned to fit, or the fewest there are."""
        fitting = [rows for rows, plan in self.plans.items() if plan.largest.total <= USED * self.memory]
        return max(fitting, default=min(self.plans))


@dataclass(frozen=True)
class Recommended:
    """The size to use, the smaller ones as fast, and the largest that fits, with no margin."""

    rows: int
    as_fast: tuple[int, ...]
    largest: int


def prepare(
    config_name: str, overrides: Sequence[str], memory: int | None, config_dir: str | None = None
) -> Tuning:
    """Check a config, and see which sizes its steps allow and what this device has.

    Args:
        memory: bytes to stay below; None for those that are free.

    Raises:
        ConfigError: as of `plan`; the config shares the model out over several ranks, or asks for a
            precision or kernels that this device has not.
    """
    cfg, launched = checked(config_name, overrides, config_dir)
    _check_alone(sizes_of(cfg))
    data_size = sizes_of(cfg).data(launched.num_ranks)
    asked = Request(config_name, list(overrides), config_dir, rows=0, micro_batches=0, memory=None, result="")
    found = run(asked)
    on_gpu = found["memory"] is not None
    of_device(cfg, None if found["capability"] is None else tuple(found["capability"]))
    free = found["memory"] if on_gpu else int(_OF_FREE * free_memory())
    plans = {}
    for rows in divisors(cfg.model.global_batch_size // data_size):
        cfg.model.micro_batch_size = rows
        check_but_data(cfg, launched)
        plans[rows] = plan_of(cfg, launched.num_ranks, "gpu" if on_gpu else "cpu")
    return Tuning(
        config_name=config_name,
        overrides=list(overrides),
        config_dir=config_dir,
        device=found["name"],
        on_gpu=on_gpu,
        memory=free if memory is None else memory,
        plans=plans,
        data_size=data_size,
    )


def tune(tuning: Tuning, tried: Callable[[Tried], None]) -> Recommended:
    """Try sizes until the one to use is known; `tried` is told of each.

    Raises:
        ConfigError: not even the smallest fits.
        TrainingError: a trial failed for another reason than memory.
    """

    def measure(rows: int) -> Tried:
        found = measured(tuning, rows)
        tried(found)
        return found

    return recommend(sorted(tuning.plans), tuning.predicted, measure, tuning)


def measured(tuning: Tuning, rows: int) -> Tried:
    """Take some training steps with that many rows in a micro batch, in a process of its own."""
    plan = tuning.plans[rows]
    found = run(
        Request(
            tuning.config_name,
            tuning.overrides,
            tuning.config_dir,
            rows=rows,
            micro_batches=plan.micro_batches,
            memory=tuning.memory,
            result="",
        ),
        most_resident=None if tuning.on_gpu else tuning.memory,
    )
    tokens = rows * plan.step.tokens_per_row
    return Tried(rows, tokens, found["fits"], found.get("peak"), found.get("tokens_per_second"))


def recommend(
    sizes: Sequence[int], start: int, measure: Callable[[int], Tried], tuning: Tuning
) -> Recommended:
    """Find the largest size that fits, the largest that does so with a margin, and smaller ones as fast.

    Args:
        sizes: rows, smallest first.
        start: the size to begin with.
        measure: tries a size; it is asked for each at most once.
    """
    known: dict[int, Tried] = {}

    def look(size: int) -> Tried:
        if size not in known:
            known[size] = measure(size)
        return known[size]

    largest = _largest(sizes, start, lambda size: look(size).fits)
    if largest is None:
        smallest = tuning.plans[sizes[0]]
        raise ConfigError(
            f"model.micro_batch_size={sizes[0]} does not fit {tuning.memory / 2**30:.2f} GiB: "
            f"{remedy(smallest)}"
        )
    with_margin = [size for size in sizes if size <= largest]
    while len(with_margin) > 1 and (look(with_margin[-1]).peak or 0) > MARGIN * tuning.memory:
        with_margin.pop()
    best = with_margin[-1]
    speed = look(best).tokens_per_second or 0.0
    as_fast = []
    for size in reversed(with_margin[:-1]):
        if (look(size).tokens_per_second or 0.0) < AS_FAST * speed:
            break
        as_fast.append(size)
    return Recommended(best, tuple(as_fast), largest)


def _largest(sizes: Sequence[int], start: int, fits: Callable[[int], bool]) -> int | None:
    """Return the largest size that fits: doubling, or halving, from `start`, then by bisection."""
    low, high = -1, len(sizes)  # what is known to fit, and not to
    at = sizes.index(start)
    while low + 1 < high:
        if fits(sizes[at]):
            low = at
        else:
            high = at
        if high == len(sizes):
            doubled = (i for i in range(low + 1, high) if sizes[i] >= 2 * sizes[low])
            at = next(doubled, high - 1)
        elif low == -1:
            halved = [i for i in range(high) if 2 * sizes[i] <= sizes[high]]
            at = halved[-1] if halved else 0
        else:
            at = (low + high) // 2
    return None if low == -1 else sizes[low]


def of_device(cfg: DictConfig, capability: tuple[int, int] | None) -> tuple[str, Kernels]:
    """Return the precision and the kernels that a config comes to on a device.

    Raises:
        ConfigError: it asks for what the device or this installation has not.
    """
    precision = choose_precision(
        str(cfg.trainer.precision), capability, has_transformer_engine=has_transformer_engine()
    ).name
    return precision, choose(cfg.model.kernels, Device.here(capability), precision=precision).kernels


def _check_alone(sizes: ParallelSizes) -> None:
    """Raise ConfigError where a rank by itself is not what the run would have."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("tune measures one rank by itself: start it without torchrun")
    for axis in ("tensor", "pipeline", "context"):
        if getattr(sizes, axis) > 1:
            raise ConfigError(
                f"{sizes.names[axis]}: tune measures one rank by itself, with the whole model: `plan` tells "
                "what ranks that share it hold, and runs with trainer.max_steps=20 how fast they are"
            )
