"""HTML of elements, tables and plots: what is no markup is escaped, nothing is loaded from afar."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TypeAlias

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from fnet.show.plots import render
from fnet.show.plots.style import DARK, LIGHT, Theme


class Markup(str):
    """HTML as it is; any other string is text, and escaped where it is put into an element."""


Content: TypeAlias = str | Markup
_EMPTY = ("img", "meta")


def element(name: str, /, *content: Content, **attributes: str) -> Markup:
    """Return an element; an underscore in an attribute is a hyphen, or nothing at its end.

    >>> element("p", "1 < 2 ", element("b", "&"), class_="note")
    '<p class="note">1 &lt; 2 <b>&amp;</b></p>'
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    ]
    start = f"<{name}{''.join(words)}>"
    return Markup(start if name in _EMPTY else f"{start}{join(content)}</{name}>")


def join(content: Iterable[Content]) -> Markup:
    """Return these beside each other."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in content)
    )


def page(title: str, *content: Content) -> str:
    """Return a whole document, with its style in it."""
    css = resources.files("fnet.run.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(css)),
    )
    body = element("body", element("main", *content))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(title: str, *content: Content) -> Markup:
    """Return a part of a page under its heading."""
    return element("section", element("h2", title), *content)


def warning(text: str) -> Markup:
    """Return a notice that cannot be overlooked."""
    return element("p", text, class_="warning", role="note")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Content]],
    *,
    names: int = 1,
    marked: Iterable[int] = (),
    footer: Sequence[Content] = (),
) -> Markup:
    """Return a table that scrolls in a box of its own where the page is too narrow for it.

    Args:
        columns: their names.
        rows: a cell for each column; the first names the row.
        names: how many of the columns are text; the others are numbers, to stand below each other.
        marked: the places of rows that stand out.
        footer: a last row of totals.
    """
    marked = set(marked)

    def cell(kind: str, place: int, content: Content, **attributes: str) -> Markup:
        number = {"class_": "number"} if place >= names else {}
        return element(kind, content, **attributes, **number)

    def row(cells: Sequence[Content], **attributes: str) -> Markup:
        name, *rest = cells
        others = (cell("td", place, content) for place, content in enumerate(rest, 1))
        return element("tr", cell("th", 0, name, scope="row"), *others, **attributes)

    heads = (cell("th", place, name, scope="col") for place, name in enumerate(columns))
    parts = [
        element("thead", element("tr", *heads)),
        element(
            "tbody",
            *(
                row(cells, **({"class_": "marked"} if place in marked else {}))
                for place, cells in enumerate(rows)
            ),
        ),
    ]
    if footer:
        parts.append(element("tfoot", row(footer)))
    return _box(element("table", *parts), "scroll")


def plot(figure: Figure, alt: str) -> Markup:
    """Return a figure of `fnet.show.plots`, light or dark as the page is; it scrolls on a phone."""
    svg = themed(render(figure, "svg").decode()).encode()
    image = element("img", src=_address("image/svg+xml", svg), alt=alt)
    return _box(image, "scroll plot")


def themed(svg: str) -> str:
    """Return a drawing in the light theme with those colours made to follow the reader's choice.

    One drawing then serves both themes, in half the time and half the size of two.
    """

    def colors(theme: Theme) -> str:
        values = theme._asdict().items()
        return "svg{" + "".join(f"--{name}:{color};" for name, color in values) + "}"

    for name, color in LIGHT._asdict().items():
        svg = svg.replace(color, f"var(--{name})")
    style = f"{colors(LIGHT)}@media (prefers-color-scheme: dark){{{colors(DARK)}}}"
    return svg.replace("<defs>", f"<style>{style}</style><defs>", 1)


def photo(pixels: Tensor, alt: str) -> Markup:
    """Return an image of a data set, uint8 `[C, H, W]` on any device, within the page."""
    values = pixels.permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(buffer, "PNG")
    return element("img", src=_address("image/png", buffer.getvalue()), alt=alt, class_="photo")


def _box(content: Markup, kind: str) -> Markup:
    """Return a box that scrolls, and that the keyboard reaches."""
    return element("div", content, class_=kind, tabindex="0")


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
