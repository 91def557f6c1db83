"""The rows of the data engine, part by part, to benchmark.md and benchmark.json; `benchmark_data` runs it."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnabert_nemo.bench.table import Row, as_json, environment, markdown
from dnabert_nemo.shards.folder import publish

PARTS = ("ids", "prepare", "loader", "dedup")
MARKDOWN, JSON = "benchmark.md", "benchmark.json"
PACKAGES = ("dnabert_nemo", "numpy", "torch", "transformers", "dnaio", "isal", "rensa", "datasketch")

_READING = (
    "A figure of a core is units over seconds of processor time of all threads and processes, so other work "
    "on the machine lowers it less than a figure by the clock, which is what was waited for. Each is the "
    "best of its repeats, and the peer's comes from the same run. The load average counts this run too.\n"
)

log = logging.getLogger(__name__)


def data_rows(part: str, sizes: dict[str, Any], examples: Path, folder: Path) -> Iterator[Row]:
    """Measure one part: sizes as in the config, commands from `examples`, what is made in `folder`."""
    # Each imported by itself: the loader brings torch and NeMo, ten seconds and memory.
    if part == "ids":
        from dnabert_nemo.bench.id_rows import id_rows

        return id_rows(**sizes)
    if part == "prepare":
        from dnabert_nemo.bench.prepare_rows import prepare_rows

        return prepare_rows(**sizes, examples=examples.resolve(), folder=folder)
    if part == "loader":
        from dnabert_nemo.bench.loader_rows import loader_rows

        return loader_rows(**sizes, examples=examples.resolve(), folder=folder)
    from dnabert_nemo.bench.dedup_rows import dedup_rows

    return dedup_rows(**sizes, examples=examples.resolve(), folder=folder)


class DataReport:
    """Rows as they come, and what is said about the run."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = {**about, **environment(PACKAGES), "load_average": {}}
        self.parts: dict[str, list[Row]] = {}

    def add(self, part: str, rows: Iterable[Row]) -> None:
        """Take a part's rows, each logged when it is there, and the load average of its minutes."""
        loads = [os.getloadavg()[0]]
        self.parts[part] = []
        for row in rows:
            self.parts[part].append(row)
            loads.append(os.getloadavg()[0])
            log.info(markdown([row]).splitlines()[2])
        self.about["load_average"][part] = {"least": min(loads), "most": max(loads)}

    def write(self, folder: Path) -> None:
        """Write benchmark.md and benchmark.json."""
        rows = [row for part in self.parts.values() for row in part]
        (folder / JSON).write_text(as_json(rows, self.about), encoding="utf-8")
        (folder / MARKDOWN).write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return the tables and what they were measured on."""
        packages = ", ".join(f"{name} {number}" for name, number in self.about["packages"].items())
        command = shlex.join(map(str, self.about["command"]))
        loads = self.about["load_average"].items()
        load = "; ".join(f"{part} {span['least']:.1f} to {span['most']:.1f}" for part, span in loads)
        return "\n".join(
            [
                "# The data engine beside its peers\n",
                _READING,
                *(f"## {part}\n\n{markdown(rows)}" for part, rows in self.parts.items()),
                "## Run\n",
                f"- command: `{command}`",
                f"- processor: {self.about['processor']}; Python {self.about['python']}; {packages}",
                f"- load average: {load}\n",
            ]
        )


@contextmanager
def write_data_report(
    output_dir: str | Path, about: dict[str, Any], *, overwrite: bool
) -> Iterator[DataReport]:
    """Hand out a report that is in `output_dir` when the block ends well; nothing is when it does not.

    Raises:
        ConfigError: `output_dir` exists and `overwrite` is false, holds other files, or cannot be written.
    """
    with publish(output_dir, (JSON, MARKDOWN), overwrite=overwrite) as folder:
        report = DataReport(about)
        yield report
        report.write(folder)
