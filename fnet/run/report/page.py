"""A page from a template: one HTML file, with its style in it, that loads nothing.

Templates are in `templates`. Every value that a template shows is text and escaped there; what is
markup comes from a template.
"""

from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from fnet.run.report.formats import show

_ENVIRONMENT = Environment(
    loader=PackageLoader("fnet.run.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["show"] = show


class Section(NamedTuple):
    """A part of a page under a heading of its own.

    Attributes:
        title: the heading.
        name: of the template in `templates/sections`, without its suffix.
        values: what the template calls `it`.
    """

    title: str
    name: str
    values: Any


class Table(NamedTuple):
    """A table.

    Attributes:
        columns: the headings.
        rows: of each a cell for each column; the first names the row.
        names: how many of the columns are text; the others are numbers, aligned on the right.
        marked: the places of rows that stand out.
        footer: a last row of totals, or nothing.
    """

    columns: list[str]
    rows: list[list[str]]
    names: int = 1
    marked: frozenset[int] = frozenset()
    footer: tuple[str, ...] = ()


class Tile(NamedTuple):
    """A figure to read first: what it is, its value, a remark."""

    label: str
    value: str
    note: str = ""


class Header(NamedTuple):
    """The top of a page.

    Attributes:
        title: the heading.
        subtitle: a line below it, or nothing.
        facts: short texts beside each other.
        status: how a run ended, or nothing.
        warnings: what a reader must not overlook.
        tiles: the headline figures.
        milestones: (accuracy, time until it was reached).
    """

    title: str
    subtitle: str = ""
    facts: tuple[str, ...] = ()
    status: str = ""
    warnings: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    milestones: tuple[tuple[str, str], ...] = ()


def render(title: str, header: Header, sections: list[Section]) -> str:
    """Return a whole HTML document.

    Args:
        title: of the window.
        header: what comes first.
        sections: what follows, in this order.
    """
    page = _ENVIRONMENT.get_template("page.html")
    return page.render(title=title, header=header, sections=sections)


def render_table(table: Table) -> str:
    """Return the HTML of one table."""
    macros: Any = _ENVIRONMENT.get_template("macros.html").module
    return str(macros.table(table))
