"""Small figures as inline SVG: panels of curves, of calibration and of slices, and strips of intervals.

Coordinates are SVG's, x to the right and y down. Colours and type are those of report_page.jinja's classes,
apart from the rows' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLORS = ("#1f6f8b", "#b5551d", "#5d7a28", "#7b4f8f", "#a63d40", "#4a4f58", "#86690a", "#3f6fb0")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "14 3")  # as many as have no factor in common with the colors

_LEFT, _TOP = 50, 10  # of what a panel's lines are drawn in
_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_STRIP, _STRIP_HEIGHT, _INSET = 170, 18, 12


@dataclass(frozen=True)
class Frame:
    """What a panel's lines are drawn in, and where 0 to 1 of either axis is there."""

    width: int
    height: int

    def x(self, at: float) -> float:
        """Return the place on the axis to the right."""
        return _LEFT + self.width * at

    def y(self, at: float) -> float:
        """Return the place on the axis upwards."""
        return _TOP + self.height * (1 - at)


LARGE, SMALL, WIDE = Frame(350, 350), Frame(262, 262), Frame(350, 250)


@dataclass(frozen=True)
class Line:
    """A row's line in a panel, from 0 to 1 along either axis."""

    name: str  # shown where one points at it
    x: Sequence[float]
    y: Sequence[float]
    number: int  # of the row, which has its color
    sizes: Sequence[float] = ()  # of a dot at each point, in pixels; none: no dots
    is_step: bool = False  # a point's height holds from the point before it
    is_faint: bool = False  # a guide from dot to dot


def swatch(number: int) -> Markup:
    """Return the piece of line that stands for a row in a legend."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">{}</svg>'
    ).format(_stroke("M0 5H28", number))


def unit_panel(
    frame: Frame, alt: str, axes: tuple[str, str], lines: Iterable[Line], *, diagonal: bool
) -> Markup:
    """Return a square panel of lines from 0 to 1, the first of them on top, with or without a diagonal."""
    parts = _scale_upwards(frame)
    for at in _FIFTHS:
        x = _number(frame.x(at))
        parts.append(Markup('<path class="grid" d="M{} {}v{}"/>').format(x, _TOP, frame.height))
        parts.append(_text(x, frame.y(0) + 16, "middle", f"{at:g}"))
    if diagonal:
        ends = (_number(each) for each in (frame.x(0), frame.y(0), frame.x(1), frame.y(1)))
        parts.append(Markup('<path class="chance" d="M{} {}L{} {}"/>').format(*ends))
    parts += reversed([_drawn(frame, line) for line in lines])
    return _panel(frame, alt, axes, parts)


def slices_panel(
    alt: str,
    along: str,
    names: Sequence[str],
    lines: Mapping[int, Sequence[float]],
    labels: Sequence[str],
) -> Markup:
    """Return a panel of shares over slices in order.

    Args:
        along: what the slices are of.
        names: theirs, below the axis.
        lines: by the row's number its share in each slice.
        labels: of the rows, by their numbers.
    """
    places = [(at + 0.5) / len(names) for at in range(len(names))]
    parts = _scale_upwards(WIDE)
    for place, name in zip(places, names, strict=True):
        x, y = _number(WIDE.x(place) + 6), _number(WIDE.y(0) + 15)
        turned = Markup('<text x="{0}" y="{1}" text-anchor="end" transform="rotate(-30 {0} {1})">{2}</text>')
        parts.append(turned.format(x, y, name))
    drawn = [
        _drawn(WIDE, Line(labels[number], places, shares, number, sizes=[3.0] * len(places)))
        for number, shares in lines.items()
    ]
    return _panel(WIDE, alt, (along, "share called rightly"), [*parts, *reversed(drawn)], below=34)


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
    ticks = (scale[0], (scale[0] + scale[1]) / 2, scale[1])
    parts = [
        Markup('<text x="{}" y="14" text-anchor="{}">{}</text>').format(_sx(at, scale), "middle", f"{at:.3g}")
        for at in ticks
    ]
    return _strip(f"scale from {scale[0]:.3g} to {scale[1]:.3g}", parts)


def _panel(
    frame: Frame, alt: str, axes: tuple[str, str], parts: Iterable[Markup], *, below: int = 0
) -> Markup:
    """Return a panel's axes and their names around what is drawn in it."""
    along, up = axes
    axis = Markup('<path class="axis" d="M{} {}v{}h{}"/>').format(_LEFT, _TOP, frame.height, frame.width)
    named = _text(frame.x(0.5), frame.y(0) + 37 + below, "middle", along)
    named += Markup('<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
        _number(frame.y(0.5)), up
    )
    width, height = _LEFT + frame.width + 14, _TOP + frame.height + 46 + below
    return Markup('<svg class="panel" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, alt, Markup("\n").join([*parts, axis, named])
    )


def _scale_upwards(frame: Frame) -> list[Markup]:
    parts = []
    for at in _FIFTHS:
        y = frame.y(at)
        parts.append(Markup('<path class="grid" d="M{} {}h{}"/>').format(_LEFT, _number(y), frame.width))
        parts.append(_text(_LEFT - 7, y + 4, "end", f"{at:g}"))
    return parts


def _text(x: float | str, y: float, anchor: str, text: str) -> Markup:
    at = x if isinstance(x, str) else _number(x)
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(at, _number(y), anchor, text)


def _drawn(frame: Frame, line: Line) -> Markup:
    points = [(_number(frame.x(x)), _number(frame.y(y))) for x, y in zip(line.x, line.y, strict=True)]
    (first, *rest), path = points, ""
    for x, y in rest:
        path += f"V{y}H{x}" if line.is_step else f"L{x} {y}"
    dots = [
        Markup('<circle cx="{}" cy="{}" r="{}" fill="{}"/>').format(
            x, y, _number(size), COLORS[line.number % len(COLORS)]
        )
        for (x, y), size in zip(points, line.sizes, strict=bool(line.sizes))
    ]
    stroke = _stroke(f"M{first[0]} {first[1]}{path}", line.number, is_faint=line.is_faint)
    return Markup("<g><title>{}</title>{}{}</g>").format(line.name, stroke, Markup("").join(dots))


def _stroke(path: str, number: int, *, is_faint: bool = False) -> Markup:
    width = "1.2" if is_faint else "2.4" if number == 0 else "1.6"
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


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
