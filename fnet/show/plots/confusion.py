"""The plot of a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fnet.show.plots.style import LIGHT, label, new_axes, new_figure

_NUMBERED = 20  # with more classes, cells have no numbers


def confusion(matrix: ArrayLike, classes: Sequence[str]) -> Figure:
    """Return a confusion matrix as a figure: rows are true classes, columns predicted classes.

    The colour of a cell is its share of the images of the true class, on a nonlinear scale that
    keeps rare mistakes visible; its number (up to 20 classes) is the count.

    Args:
        matrix: counts `[classes, classes]`, `matrix[true, predicted]`.
        classes: the names of the classes.

    Raises:
        ValueError: the matrix does not have a row and a column for each class.
    """
    counts = np.asarray(matrix)
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(
            f"the matrix is {list(counts.shape)}, expected {[n, n]}: a row and a column for each "
            "class"
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    side = max(0.4 * min(n, _NUMBERED), min(0.1 * n, 20))  # inches
    figure = new_figure(side + 2.9, side + 2.1)
    axes = new_axes(figure, 111)
    axes.grid(False)
    norm = PowerNorm(0.5, vmin=0, vmax=100)
    image = axes.imshow(shares, cmap="cividis", norm=norm)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 1, 5, 10, 25, 50, 75, 100], shrink=0.8)
    bar.set_label("of the true class (%)", color=LIGHT.ink)
    bar.ax.tick_params(color=LIGHT.ink, labelcolor=LIGHT.ink)
    bar.outline.set_edgecolor(LIGHT.ink)
    names = [label(name, 20) for name in classes]
    size = min(9, 0.75 * 72 * side / n)  # points
    tilt: Any = {"rotation": 45 if n <= _NUMBERED else 90, "rotation_mode": "anchor"}
    axes.set_xticks(range(n), names, ha="right", va="center", size=size, **tilt)
    axes.set_yticks(range(n), names, size=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if n <= _NUMBERED:
        for true, predicted in np.ndindex(n, n):
            if counts[true, predicted]:
                dark = shares[true, predicted] < 36  # the middle of the colour scale
                axes.text(
                    predicted,
                    true,
                    f"{counts[true, predicted]:g}",
                    ha="center",
                    va="center",
                    size=8,
                    color="#fefefe" if dark else "#000000",  # in no theme: not swapped by `render`
                )
    return figure
