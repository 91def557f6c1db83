"""What `tune` prints: a table, a line as soon as a size was tried, and what to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dnabert_nemo.training.tune import MARGIN, Recommended, Tried, Tuning

_WIDTHS = (11, 9, 8, 10)


def head_lines(tuning: Tuning) -> Iterator[str]:
    """Say what is tried, and on what."""
    plan = next(iter(tuning.plans.values()))
    rows = plan.step.global_batch_size // tuning.data_size
    yield f"{plan.name}, {plan.parameters:,} parameters, on {tuning.device}, {_gib(tuning.memory)} GiB"
    yield (
        f"a step: {rows:,} rows of {plan.step.tokens_per_row:,} tokens on a rank; planned to fit: "
        f"{tuning.predicted} in a micro batch"
    )
    yield ""
    yield _row("micro batch", "tokens", "peak GiB", "tokens/s") + "  fits"


def line(tried: Tried) -> str:
    """Give a size's line of the table."""
    speed = "" if tried.tokens_per_second is None else f"{tried.tokens_per_second:,.0f}"
    peak = "" if tried.peak is None else _gib(tried.peak)
    return _row(str(tried.rows), f"{tried.tokens:,}", peak, speed) + ("  yes" if tried.fits else "  no")


def end_lines(tuning: Tuning, found: Recommended) -> Iterator[str]:
    """Say what to use, and why not more or less."""
    yield ""
    if found.largest != found.rows:
        yield f"{found.largest} fits, but takes more than {MARGIN:.0%} of the memory"
    if found.as_fast:
        sizes = ", ".join(map(str, found.as_fast))
        yield f"as fast, within 2 %, in less memory: {sizes}"
    plan = tuning.plans[found.rows]
    if plan.largest.optimizer < plan.largest.optimizer_whole:
        saved = _gib(plan.largest.optimizer_whole - plan.largest.optimizer)
        yield f"with {tuning.data_size} data ranks a rank holds {saved} GiB less, of the optimizer's state"
    yield f"use: model.micro_batch_size={found.rows}"


def as_json(tuning: Tuning, tried: list[Tried], found: Recommended) -> dict[str, Any]:
    """Give all of it as plain values; memory is bytes."""
    return {
        "name": next(iter(tuning.plans.values())).name,
        "device": tuning.device,
        "memory": tuning.memory,
        "tried": [asdict(each) for each in sorted(tried, key=lambda each: each.rows)],
        "recommended": {"model.micro_batch_size": found.rows},
        "as_fast": list(found.as_fast),
        "largest_that_fits": found.largest,
    }


def _row(*cells: str) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.2f}"
