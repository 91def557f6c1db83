"""The plots of the throughput benchmark: bars of rows, and lines over what is swept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Bars:
    """A bar a row: the median of its figures, and a line from the least to the most of them."""

    file: str
    title: str
    unit: str
    names: Sequence[str]
    figures: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """Lines of one unit over x, by name; a point of None was not measured."""

    unit: str
    lines: dict[str, list[float | None]]


@dataclass(frozen=True)
class Lines:
    """Panels beside each other over the same x, on logarithmic axes."""

    file: str
    title: str
    x_label: str
    x: Sequence[float]
    panels: Sequence[Panel]


Plot = Bars | Lines

IDEAL = "linear"  # the name of a line to compare with

_INK, _OURS, _PEER = "#30343b", "#1f6f8b", "#b5651d"
_MARKS, _LINES = ("o", "s", "^", "D"), (_OURS, _PEER, "#6a8532", "#7b4f8f")
_FAR = 5.0  # from the least to the most, that a linear axis shows well


def draw(plots: Sequence[Plot], folder: Path) -> None:
    """Write each plot to its file in `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    for plot in plots:
        figure = _bars(plot) if isinstance(plot, Bars) else _lines(plot)
        figure.savefig(folder / plot.file, dpi=150)


def _figure(width: float, height: float, panels: int = 1) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=_INK)
    return figure, list(axes)


def _bars(plot: Bars) -> Any:
    figure, [axes] = _figure(9, 1.1 + 0.42 * len(plot.names))
    places = range(len(plot.names))
    medians = [statistics.median(figures) for figures in plot.figures]
    spans = [
        [median - min(figures) for median, figures in zip(medians, plot.figures, strict=True)],
        [max(figures) - median for median, figures in zip(medians, plot.figures, strict=True)],
    ]
    colors = [_PEER if "Bert" in name or "original" in name else _OURS for name in plot.names]
    axes.barh(places, medians, xerr=spans, color=colors, ecolor=_INK, capsize=3, height=0.66)
    most = max([max(figures) for figures in plot.figures], default=1.0)
    for place, median, figures in zip(places, medians, plot.figures, strict=True):
        axes.text(max(figures) + 0.015 * most, place, f"{median:,.0f}", va="center", color=_INK, fontsize=9)
    axes.set_yticks(list(places), plot.names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * most)
    axes.set_xlabel(plot.unit)
    axes.set_title(plot.title, loc="left", fontsize=11)
    axes.xaxis.set_major_formatter(_thousands())
    return figure


def _lines(plot: Lines) -> Any:
    figure, panels = _figure(5.2 * len(plot.panels), 4, len(plot.panels))
    for axes, panel in zip(panels, plot.panels, strict=True):
        for number, (name, values) in enumerate(panel.lines.items()):
            style = ("--", "", "#8a8f98") if name == IDEAL else ("-", _MARKS[number], _LINES[number])
            points = [(x, y) for x, y in zip(plot.x, values, strict=True) if y is not None]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                linestyle=style[0],
                marker=style[1],
                color=style[2],
                label=name,
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(plot.x), [f"{x:,g}" for x in plot.x])
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(panel.unit)
        _scale(axes, [value for values in panel.lines.values() for value in values if value is not None])
        axes.minorticks_off()
        axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
        axes.set_axisbelow(True)
    if len(plot.panels[0].lines) > 1:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(plot.title, x=0.01, ha="left", fontsize=11)
    return figure


def _scale(axes: Any, values: Sequence[float]) -> None:
    """Begin at zero, or take logarithms where the values are far apart."""
    from matplotlib.ticker import LogLocator

    axes.yaxis.set_major_formatter(_thousands())
    if not values or max(values) < _FAR * min(values):
        axes.set_ylim(0, 1.1 * max(values, default=1.0))
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(_thousands())
    axes.set_ylim(min(values) / 1.3, 1.3 * max(values))


def _thousands() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
