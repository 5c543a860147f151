"""Rendering of a figure to PNG and SVG, reproducible bytes, on a light or a dark background."""

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
    With `dark` the background is dark, and text, axes and grid are light. The figure itself is not
    changed.
    """
    figure = _recolored(figure, DARK if dark else LIGHT)
    buffer = io.BytesIO()
    with matplotlib.rc_context(_REPRODUCIBLE), warnings.catch_warnings():
        # A name can have glyphs that no font has: matplotlib draws a box instead, and warns.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        if format == "png":
            canvas: Any = FigureCanvasAgg(figure)
            canvas.print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        else:
            canvas = FigureCanvasSVG(figure)
            # In SVG, the dpi is only the resolution of embedded images.
            canvas.print_figure(buffer, format="svg", dpi=_DPI, metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path | str, dark: bool = False) -> list[Path]:
    """Write `path.png` and `path.svg`, and return their paths.

    With `dark`, also `path-dark.png` and `path-dark.svg`, for pages with a dark background.

    Args:
        figure: from one of the functions of `fnet.show.plots`.
        path: without a suffix, in a directory that exists.
        dark: whether to write the dark variants as well.

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
    """Return a copy of the figure, with the colours of the light theme replaced by another's.

    Always a copy: drawing changes the layout, so drawing the same figure twice gives other bytes.
    """
    figure = pickle.loads(pickle.dumps(figure))
    if theme == LIGHT:
        return figure
    colors = dict(zip(LIGHT, theme, strict=True))
    for artist in figure.findobj():
        for name in ("color", "facecolor", "edgecolor"):
            _swap_color(artist, name, colors)
        if isinstance(artist, Axes):
            # Ticks are created later, with the colours set here.
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
        return  # a collection has a list of colours
    if color in colors:
        setter(colors[color])
