"""The common style of all figures: a palette for colour-blind readers, themes, axes, labels."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""The palette of Okabe and Ito, "Color Universal Design" (2008), without black and yellow: each is
visible on a light and on a dark background."""

RIGHT, WRONG = "#2da44e", "#e5484d"
"""Green and red of predictions. A tick and a cross say the same to those who see one colour."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h")


class Theme(NamedTuple):
    """The colours of everything but the data: the background, the text and axes, the grid."""

    paper: str
    ink: str
    grid: str


LIGHT = Theme("#ffffff", "#24292f", "#d8dee4")
DARK = Theme("#0d1117", "#e6edf3", "#30363d")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure in the light theme with constrained layout; the size is in inches."""
    return Figure(
        figsize=(width, height),
        layout="constrained",
        facecolor=LIGHT.paper,
        edgecolor=LIGHT.paper,
    )


def new_axes(figure: Figure, place: Any, **options: Any) -> Axes:
    """Return axes at a subplot position of the figure, in the light theme, with grid lines."""
    axes = figure.add_subplot(place, facecolor=LIGHT.paper, **options)
    axes.tick_params(which="both", color=LIGHT.ink, labelcolor=LIGHT.ink)
    for spine in axes.spines.values():
        spine.set_edgecolor(LIGHT.ink)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(LIGHT.ink)
    axes.grid(color=LIGHT.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def label(text: str, width: int) -> str:
    """Return a text to draw; if it is longer than `width`, an ellipsis replaces its middle.

    Dollar signs are escaped, so that matplotlib does not parse a formula.

    >>> label("dainet7-seed-17", 9)
    'dain…d-17'
    """
    if len(text) > width:
        end = (width - 1) // 2
        text = f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
    return text.replace("$", r"\$")
