"""From a figure to PNG and SVG, on a light or a dark background, the same bytes every time."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fnet.files import write_atomically
from fnet.show.plots.style import DARK, LIGHT, Theme

Format = Literal["png", "svg"]
_DPI = 144
_REPRODUCIBLE: Any = {"svg.hashsalt": "fnet", "svg.fonttype": "path"}


def render(figure: Figure, format: Format, dark: bool = False) -> bytes:
    """Return a figure of `fnet.show.plots` as the bytes of a PNG or SVG file.

    The same figure gives the same bytes with the same version of matplotlib: no date is written.
    With `dark` the background is dark, and what was dark on it is light. The figure itself is
    not drawn, and stays as it was.
    """
    figure = _recolored(figure, DARK if dark else LIGHT)
    buffer = io.BytesIO()
    with matplotlib.rc_context(_REPRODUCIBLE), warnings.catch_warnings():
        # A name in letters that matplotlib has no font for: a box stands for each of them.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        if format == "png":
            canvas: Any = FigureCanvasAgg(figure)
            canvas.print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        else:
            canvas = FigureCanvasSVG(figure)
            # The resolution is that of the images within.
            canvas.print_figure(buffer, format="svg", dpi=_DPI, metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path | str, dark: bool = False) -> list[Path]:
    """Write `path.png` and `path.svg`, and return their paths.

    With `dark`, `path-dark.png` and `path-dark.svg` follow, for pages with a dark background.

    Args:
        figure: from one of the functions of `fnet.show.plots`.
        path: without a suffix, in a directory that exists.
        dark: whether the dark variants are written as well.

    Raises:
        OSError: a file cannot be written.
    """
    written = []
    for on_dark in (False, True) if dark else (False,):
        for format in ("png", "svg"):
            file = Path(f"{path}{'-dark' if on_dark else ''}.{format}")
            write_atomically(file, render(figure, format, on_dark))
            written.append(file)
    return written


def _recolored(figure: Figure, theme: Theme) -> Figure:
    """Return a copy in which what has a colour of the light theme has that of another.

    Drawing lays a figure out, and the second time differently: a copy is drawn the first time.
    """
    figure = pickle.loads(pickle.dumps(figure))
    if theme == LIGHT:
        return figure
    colors = dict(zip(LIGHT, theme, strict=True))
    for artist in figure.findobj():
        for name in ("color", "facecolor", "edgecolor"):
            _swap_color(artist, name, colors)
        if isinstance(artist, Axes):
            # Ticks that do not exist yet take their colours from here.
            artist.tick_params(
                which="both", color=theme.ink, labelcolor=theme.ink, grid_color=theme.grid
            )
    return figure


def _swap_color(artist: Artist, name: str, colors: dict[str, str]) -> None:
    getter, setter = (getattr(artist, f"{verb}_{name}", None) for verb in ("get", "set"))
    if getter is None or setter is None:
        return
    value = getter()
    try:
        color = to_hex(value)
    except (TypeError, ValueError):
        return  # a collection, with a colour for each of its members
    if color in colors:
        setter(colors[color])
