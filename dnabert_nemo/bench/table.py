"""Figures beside their peers', as a Markdown table and JSON: what every benchmark ends in."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure, a peer's beside it, and what it should reach: a value, or so many times the peer's.

    Without a value it was not measured, and the note says why.
    """

    name: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None
    target: float | None = None  # at least this, or at most where `lower_is_better`
    target_ratio: float | None = None  # likewise
    lower_is_better: bool = False
    note: str = ""
    ratios: tuple[float, ...] = ()  # of each round, where both took turns in rounds

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure this is; of rounds, whose turns are neighbours, the median."""
        if self.ratios:
            return statistics.median(self.ratios)
        return None if self.value is None or not self.peer_value else self.value / self.peer_value

    @property
    def is_met(self) -> bool | None:
        """Whether all targets are reached; None where there is none to judge by."""
        reached = [
            self._reaches(*pair) for pair in ((self.value, self.target), (self.ratio, self.target_ratio))
        ]
        judged = [each for each in reached if each is not None]
        return all(judged) if judged else None

    def _reaches(self, figure: float | None, target: float | None) -> bool | None:
        if figure is None or target is None:
            return None
        return figure <= target if self.lower_is_better else figure >= target

    def targets(self) -> str:
        """Write the targets and whether each is reached."""
        sign = "<=" if self.lower_is_better else ">="
        written = []
        for figure, target, unit in ((self.value, self.target, ""), (self.ratio, self.target_ratio, " x")):
            if target is not None:
                reached = {True: ", met", False: ", missed", None: ""}[self._reaches(figure, target)]
                written.append(f"{sign} {short(target)}{unit}{reached}")
        return "; ".join(written) + self._rounds()

    def _rounds(self) -> str:
        """Say in how many of the rounds the ratio's target is reached, where they do not agree."""
        reached = sum(self._reaches(each, self.target_ratio) is True for each in self.ratios)
        if self.target_ratio is None or reached in (0, len(self.ratios)):
            return ""
        return f" (in {reached} of {len(self.ratios)} rounds)"


def markdown(rows: Sequence[Row]) -> str:
    """Write the rows as a table."""
    lines = ["| what | measured | target | peer | peer's | ratio | note |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = (
            row.name,
            _with_unit(row.value, row.unit),
            row.targets(),
            row.peer,
            "" if row.peer_value is None else _with_unit(row.peer_value, row.unit),
            "" if row.ratio is None else f"{short(row.ratio)} x",
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """Tell what a benchmark ran on: the commit, versions, processor, cores."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: _version(name) for name in packages},
    }


def as_json(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write the rows, and what is said about the run, as JSON."""
    described = [{**asdict(row), "ratio": row.ratio, "is_met": row.is_met} for row in rows]
    return json.dumps({**about, "rows": described}, indent=1) + "\n"


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    return f"{short(value)} {unit}".rstrip()


def short(value: float) -> str:
    """Write a figure with three digits that say something."""
    if value and abs(value) < 0.01:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _commit() -> str:
    """Return the checkout's commit, and "-changed" after it where files differ from it."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return "not a checkout"
    asked = [
        "git",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=-changed",
    ]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if "model name" in line]
        if path.exists()
        else []
    )
    return f"{len(names)} x {names[0]}" if names else platform.processor()
