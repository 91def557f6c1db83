"""One self-contained page of a report: what it is put together from, and how it becomes HTML.

`report_sections`, `splice_page` and `task_page` put sections together; report_page.jinja lays them out. All
that is no Markup is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

TEMPLATE = Path(__file__).with_name("report_page.jinja")


@dataclass(frozen=True)
class Cell:
    """A cell of a table, where it is more than text."""

    text: str
    under: str = ""  # in small letters below it
    shade: float | None = None  # of its ground, 0 to 1
    is_bases: bool = False


@dataclass(frozen=True)
class Table:
    """A table, whose lines' first cells are their headers."""

    caption: str
    header: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]
    groups: Sequence[tuple[str, int]] = ()  # above the header: a title, and how many columns it is above of
    words: frozenset[int] = frozenset()  # the columns that hold words, where the others hold numbers
    is_narrow: bool = False  # as wide as its cells, beside others
    least: int = 9  # width of the first column, in letters' widths
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Figure:
    """Panels beside each other, each under its title, with one legend."""

    caption: str
    panels: Sequence[tuple[str, Markup]]
    legend: Sequence[tuple[Markup, str]] = ()
    columns: int = 2  # where there is room
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph, or a command as it is typed."""

    text: str
    is_command: bool = False
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Beside:
    """Narrow tables beside each other, where there is room for so many pixels each."""

    tables: Sequence[Table]
    least: int = 330
    kind: str = field(default="beside", init=False)


@dataclass(frozen=True)
class Section:
    """A part of the page under a title of its own, which links lead to by its anchor."""

    anchor: str
    title: str
    says: str
    parts: Sequence[Table | Figure | Text | Beside]


def render_page(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the page: `lead` are the paragraphs below its title."""
    return _template().render(title=title, lead=lead, sections=sections)


def _name(text: str) -> Markup:
    """Let a long name be broken where it has an underscore."""
    return text if isinstance(text, Markup) else escape(text).replace("_", Markup("_<wbr>"))


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["name"] = _name
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
