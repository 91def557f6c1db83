"""The parts of the throughput benchmark to throughput.md, throughput.json and plots; one command runs it."""

from __future__ import annotations

import logging
import os
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dnabert_nemo.bench.table import Row, as_json, environment, markdown
from dnabert_nemo.bench.throughput.figures import table
from dnabert_nemo.bench.throughput.plots import draw
from dnabert_nemo.bench.throughput.sections import Section
from dnabert_nemo.bench.throughput.settings import JSON, MARKDOWN, Settings

PACKAGES = ("dnabert_nemo", "torch", "megatron-core", "transformers", "triton", "numpy")

READING = (
    "Rows of one table took turns, each in a process of its own, on the same samples, device and precision: "
    "a round after another, in an order that rotates. A figure is the median of the rounds, and so is a "
    "ratio, which each round has its own of: turns of one round are minutes apart at most, and a machine "
    "that others share is not the same for long. The note has the least and the most of the rounds. Tokens "
    "are those of samples with CLS and SEP, and no padding. A step is forward, backward, clipping and AdamW "
    "over all samples of the step.\n"
    "\n"
    "Model FLOPs are those of `dnabert_nemo/megatron/flops.py` for the tokens of the samples at their own "
    "lengths: padding is no work. Where ours computes the last layer only for the tokens whose output is "
    "read, what is left out does not count either, so tokens a second may rise and FLOP/s fall. MFU is "
    "their share of the GPU's dense peak by its datasheet; a CPU has none. ModernBERT has no figure there, "
    "as its layers are others; like the other peers it is given padded samples and torch's SDPA, not the "
    "flash-attn package, with which it leaves padding out. Peak memory is what a process or device held "
    "beyond what it held before the model was made: weights, gradients, optimizer and activations.\n"
)

log = logging.getLogger(__name__)


class ThroughputReport:
    """Sections as they come, and what is said about the run."""

    def __init__(self, settings: Settings, about: dict[str, Any]) -> None:
        self.settings = settings
        self.about = {**about, **environment(PACKAGES), "hardware": hardware(settings), "load_average": {}}
        self.sections: list[Section] = []
        self._began = time.perf_counter()
        self._load = os.getloadavg()[0]

    def add(self, section: Section) -> None:
        """Take a part; log its judged rows."""
        self.sections.append(section)
        self.about["load_average"][section.name] = {"before": self._load, "after": os.getloadavg()[0]}
        self._load = os.getloadavg()[0]
        self.about["seconds"] = time.perf_counter() - self._began
        log.info(markdown(section.judged))

    @property
    def rows(self) -> list[Row]:
        """All that is judged."""
        return [row for section in self.sections for row in section.judged]

    def write(self, folder: Path) -> None:
        """Write the tables, the JSON and the plots."""
        measured = {
            section.name: {group.title: [row.as_json() for row in group.rows] for group in section.groups}
            for section in self.sections
        }
        plots = [plot for section in self.sections for plot in section.plots]
        about = {**self.about, "measured": measured}
        (folder / JSON).write_text(as_json(self.rows, about), encoding="utf-8")
        (folder / MARKDOWN).write_text(self.markdown(), encoding="utf-8")
        draw(plots, folder)

    def markdown(self) -> str:
        """Return the tables and what they were measured on."""
        lines = ["# The speed of pre-training beside its peers\n", READING]
        lines += ["## Targets\n", markdown([row for row in self.rows if _has_target(row)])]
        for section in self.sections:
            lines.append(f"## {section.name}\n")
            if section.notes:
                lines.append(f"{section.notes}\n")
            others = [row for row in section.judged if not _has_target(row)]
            lines += [markdown(others)] if others else []
            for group in section.groups:
                written = table(group.rows, self.settings.peak_flops, is_ladder=group.is_ladder)
                lines += [f"### {group.title}\n", written]
            lines += [f"![{plot.title}]({plot.file})\n" for plot in section.plots]
        return "\n".join([*lines, "## Run\n", *self._run()]) + "\n"

    def _run(self) -> list[str]:
        about, settings = self.about, self.settings
        packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
        loads = "; ".join(
            f"{part} {load['before']:.1f}, then {load['after']:.1f}"
            for part, load in about["load_average"].items()
        )
        device = settings.here.gpu or "CPU"
        return [
            f"- command: `{shlex.join(map(str, about['command']))}`",
            f"- device: {device}; {settings.precision}; {settings.threads} threads a row; "
            f"kernels: {settings.kernels}",
            f"- commit: {about['commit']}",
            f"- processor: {about['processor']}; Python {about['python']}; {packages}",
            f"- load average before and after each part, this run in it: {loads}",
            f"- {about.get('seconds', 0):.0f} s",
        ]


def _has_target(row: Row) -> bool:
    return row.target is not None or row.target_ratio is not None


def hardware(settings: Settings) -> dict[str, Any]:
    """Tell what the rows ran on."""
    found: dict[str, Any] = {**asdict(settings.here), "cores": os.cpu_count(), "threads": settings.threads}
    if settings.here.is_gpu:
        found |= {
            "memory": torch.cuda.get_device_properties(0).total_memory,
            "cuda": torch.version.cuda,
            "peak_flops": settings.peak_flops,
        }
    return found
