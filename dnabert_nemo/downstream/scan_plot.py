"""Precision over recall of every row, drawn for `scan_report`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.metrics import SITE_LABELS
from dnabert_nemo.errors import ConfigError

Curves = Mapping[str, Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]

_INK, _GRID, _CHANCE = "#30343b", "#e3e5e8", "#8a8f98"
_COLORS = ("#1f6f8b", "#b5651d", "#6a8532", "#7b4f8f", "#a63d40", "#30343b", "#c2a83e", "#4f7cac")


def check_plots() -> None:
    """See that curves can be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("the curves need matplotlib: pip install dnabert_nemo[bench]")


def draw_curves(curves: Curves, prevalence: Mapping[str, float], path: Path) -> None:
    """Draw a panel for each of SITE_LABELS, with a stepped line for each row.

    Args:
        curves: precision and recall by row and label, the highest scores first.
        prevalence: the share of positions that are sites, which a random ranking has as its precision.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.6), layout="constrained")
    for axes, label in zip(figure.subplots(1, len(SITE_LABELS)), SITE_LABELS, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK)
        for number, (name, by_label) in enumerate(curves.items()):
            precision, recall = by_label[label]
            axes.step(
                np.concatenate([[0.0], recall]),
                np.concatenate([precision[:1], precision]),
                where="pre",  # a step of recall has the precision at its end, as average precision sums it
                color=_COLORS[number % len(_COLORS)],
                linestyle="-" if number < len(_COLORS) else "--",
                linewidth=1.4,
                label=name,
            )
        axes.axhline(prevalence[label], linestyle="--", linewidth=1, color=_CHANCE, label="random ranking")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_title(label, loc="left", fontsize=11)
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    # without the version of matplotlib in it, the same curves give the same bytes for longer
    figure.savefig(path, dpi=150, metadata={"Software": None})
