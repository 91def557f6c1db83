"""Small figures as inline SVG: panels of curves, of calibration and of slices, and strips of intervals.

Coordinates are SVG's, x to the right and y down. Colours and type are those of report_page.jinja's classes,
apart from the rows' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

COLORS = ("#1f6f8b", "#b5551d", "#5d7a28", "#7b4f8f", "#a63d40", "#4a4f58", "#86690a", "#3f6fb0")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3")

_LEFT, _TOP, _SIDE = 50, 30, 300  # of the square that a panel's curves are drawn in
_WIDTH, _HEIGHT = _LEFT + _SIDE + 16, _TOP + _SIDE + 46
_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_STRIP, _STRIP_HEIGHT, _INSET = 190, 18, 8


@dataclass(frozen=True)
class Line:
    """A row's line in a panel, from 0 to 1 along either axis."""

    name: str  # shown where one points at it
    x: Sequence[float]
    y: Sequence[float]
    number: int  # of the row, which has its color
    sizes: Sequence[float] = ()  # of a dot at each point, in pixels; none: no dots
    is_step: bool = False  # a point's height holds from the point before it


def swatch(number: int) -> Markup:
    """Return the piece of line that stands for a row in a legend."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">{}</svg>'
    ).format(_stroke("M0 5H28", number))


def unit_panel(
    title: str, alt: str, axes: tuple[str, str], lines: Iterable[Line], *, diagonal: bool
) -> Markup:
    """Return a square panel of lines from 0 to 1, the first of them on top, with or without a diagonal."""
    grid = [
        Markup('<path class="grid" d="M{} {}V{}M{} {}H{}"/>').format(
            _px(at), _TOP, _TOP + _SIDE, _LEFT, _py(at), _LEFT + _SIDE
        )
        for at in _FIFTHS
    ]
    ticks = [
        Markup(
            '<text x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text x="{}" y="{}" text-anchor="end">{}</text>'
        ).format(_px(at), _TOP + _SIDE + 16, f"{at:g}", _LEFT - 7, _number(float(_py(at)) + 4), f"{at:g}")
        for at in _FIFTHS
    ]
    chance = [Markup('<path class="chance" d="M{} {}L{} {}"/>').format(_px(0), _py(0), _px(1), _py(1))]
    drawn = [_drawn(line) for line in lines]
    return _panel(title, alt, axes, [*grid, *ticks, *(chance if diagonal else []), *reversed(drawn)])


def slices_panel(
    title: str,
    alt: str,
    names: Sequence[str],
    lines: Mapping[int, Sequence[float | None]],
    labels: Sequence[str],
) -> Markup:
    """Return a panel of shares over slices in order.

    Args:
        names: of the slices, below the axis.
        lines: by the row's number its share in each slice, None where there is none.
        labels: of the rows, by their numbers.
    """
    places = [(at + 0.5) / len(names) for at in range(len(names))]
    grid = [
        Markup('<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>').format(
            _LEFT, _py(at), _LEFT + _SIDE, _LEFT - 7, _number(float(_py(at)) + 4), f"{at:g}"
        )
        for at in _FIFTHS
    ]
    ticks = [
        Markup(
            '<text class="slice" x="{0}" y="{1}" text-anchor="end" transform="rotate(-32 {0} {1})">{2}</text>'
        ).format(_number(float(_px(place)) + 4), _TOP + _SIDE + 16, name)
        for place, name in zip(places, names, strict=True)
    ]
    drawn = []
    for number, shares in lines.items():
        found = [(place, share) for place, share in zip(places, shares, strict=True) if share is not None]
        x, y = [place for place, _ in found], [share for _, share in found]
        drawn.append(_drawn(Line(labels[number], x, y, number, sizes=[3.0] * len(x))))
    return _panel(title, alt, ("", "share rightly called"), [*grid, *ticks, *reversed(drawn)], below=24)


def interval_strip(
    alt: str,
    value: float,
    interval: Sequence[float] | None,
    scale: tuple[float, float],
    bar: float | None,
    number: int,
) -> Markup:
    """Return a value and its interval on a scale that a table's lines share, and where the bar stands."""
    parts = []
    if bar is not None:
        parts.append(Markup('<path class="bar" d="M{} 0V{}"/>').format(_sx(bar, scale), _STRIP_HEIGHT))
    color = COLORS[number % len(COLORS)]
    middle = _STRIP_HEIGHT // 2
    if interval is not None:
        low, high = (_sx(end, scale) for end in interval)
        parts.append(
            Markup('<path d="M{} {}H{}" stroke="{}" stroke-width="2.5" stroke-linecap="round"/>').format(
                low, middle, high, color
            )
        )
    parts.append(Markup('<circle cx="{}" cy="{}" r="4" fill="{}"/>').format(_sx(value, scale), middle, color))
    return _strip(alt, parts)


def strip_scale(scale: tuple[float, float]) -> Markup:
    """Return the ticks of a column of strips."""
    middle = (scale[0] + scale[1]) / 2
    anchors = zip((scale[0], middle, scale[1]), ("start", "middle", "end"), strict=True)
    parts = [
        Markup('<text x="{}" y="13" text-anchor="{}">{}</text>').format(
            {"start": 0, "middle": _STRIP // 2, "end": _STRIP}[anchor], anchor, f"{at:.3g}"
        )
        for at, anchor in anchors
    ]
    return _strip(f"scale from {scale[0]:.3g} to {scale[1]:.3g}", parts)


def _panel(title: str, alt: str, axes: tuple[str, str], parts: Iterable[Markup], *, below: int = 0) -> Markup:
    """Return a panel's frame, title and names of axes around what is drawn in it."""
    head = Markup('<text class="title" x="{}" y="16">{}</text>').format(_LEFT, title)
    frame = Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(
        _LEFT, _TOP, _TOP + _SIDE, _LEFT + _SIDE
    )
    along, up = axes
    named = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
        _LEFT + _SIDE // 2, _TOP + _SIDE + 36, along
    )
    named += Markup('<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
        _TOP + _SIDE // 2, up
    )
    return Markup('<svg class="panel" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT + below, alt, Markup("\n").join([head, *parts, frame, named])
    )


def _drawn(line: Line) -> Markup:
    points = [(_px(x), _py(y)) for x, y in zip(line.x, line.y, strict=True)]
    (first, *rest), path = points, ""
    for x, y in rest:
        path += f"V{y}H{x}" if line.is_step else f"L{x} {y}"
    dots = [
        Markup('<circle cx="{}" cy="{}" r="{}" fill="{}"/>').format(
            x, y, _number(size), COLORS[line.number % len(COLORS)]
        )
        for (x, y), size in zip(points, line.sizes, strict=bool(line.sizes))
    ]
    stroke = _stroke(f"M{first[0]} {first[1]}{path}", line.number)
    return Markup("<g><title>{}</title>{}{}</g>").format(line.name, stroke, Markup("").join(dots))


def _stroke(path: str, number: int) -> Markup:
    width = "2.4" if number == 0 else "1.6"
    return Markup('<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>').format(
        path, COLORS[number % len(COLORS)], width, DASHES[number % len(DASHES)] or "none"
    )


def _strip(alt: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg class="strip" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
        "{3}</svg>"
    ).format(_STRIP, _STRIP_HEIGHT, alt, Markup("").join(parts))


def _sx(value: float, scale: tuple[float, float]) -> str:
    share = (value - scale[0]) / (scale[1] - scale[0])
    return _number(_INSET + min(1.0, max(0.0, share)) * (_STRIP - 2 * _INSET))


def _px(x: float) -> str:
    return _number(_LEFT + _SIDE * x)


def _py(y: float) -> str:
    return _number(_TOP + _SIDE * (1 - y))


def _number(value: Any) -> str:
    return f"{value:.1f}".removesuffix(".0")
