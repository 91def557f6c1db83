"""Figures beside their peers', as a Markdown table and JSON: what every benchmark ends in."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure, a peer's beside it, and what it should reach."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    target: float | None = None  # at least this, or at most where `lower_is_better`
    lower_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure this is."""
        return None if not self.peer_value else self.value / self.peer_value

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached."""
        if self.target is None:
            return None
        return self.value <= self.target if self.lower_is_better else self.value >= self.target


def markdown(rows: Sequence[Row]) -> str:
    """Write the rows as a table."""
    lines = ["| what | measured | target | peer | peer's | ratio | note |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        sign = "<=" if row.lower_is_better else ">="
        reached = "" if row.is_met is None else (", met" if row.is_met else ", missed")
        cells = (
            row.name,
            f"{_short(row.value)} {row.unit}",
            "" if row.target is None else f"{sign} {_short(row.target)}{reached}",
            row.peer,
            "" if row.peer_value is None else f"{_short(row.peer_value)} {row.unit}",
            "" if row.ratio is None else f"{_short(row.ratio)} x",
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """Tell what a benchmark ran on: versions, processor, cores."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: version(name) for name in packages},
    }


def as_json(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write the rows, and what is said about the run, as JSON."""
    described = [{**asdict(row), "ratio": row.ratio, "is_met": row.is_met} for row in rows]
    return json.dumps({**about, "rows": described}, indent=1) + "\n"


def _short(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if "model name" in line]
        if path.exists()
        else []
    )
    return f"{len(names)} x {names[0]}" if names else platform.processor()
