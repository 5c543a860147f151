"""Accuracy over the values of swept options."""

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fnet.show.plots.curves import look
from fnet.show.plots.style import LIGHT, label, new_axes, new_figure

Point: TypeAlias = tuple[Mapping[str, Any], Sequence[float]]
"""The values of the swept options by name, and the accuracies 0..1, one for each seed."""

_WIDE = 10.0
"""An axis is logarithmic if its values differ by at least this factor."""
_MOST_LINES = 12
_CLOSEST = 0.12
"""Ticks closer than this fraction of the axis would have labels that overlap."""


def swept(points: Sequence[Point]) -> Figure:
    """Return a figure of the accuracy over each option that takes several values.

    There is one plot for each option. A line joins the means over the seeds, for one combination of
    the other options; bars reach from the lowest to the highest seed. Numbers that differ by a
    factor of 10 have a logarithmic axis, other values than numbers are at equal distances.

    Args:
        points: one for each combination of values, all with the same options.

    Raises:
        ValueError: no point is given.
    """
    if not points:
        raise ValueError("there is nothing to draw: give at least one point")
    names = [name for name in points[0][0] if len({_key(values[name]) for values, _ in points}) > 1]
    names = names or list(points[0][0])
    figure = new_figure(max(5.0, 4.4 * len(names)), 4.2)
    grid = figure.add_gridspec(1, len(names))
    for place, name in enumerate(names):
        axes = new_axes(figure, grid[0, place])
        _draw(axes, points, name, [other for other in names if other != name])
        axes.set_xlabel(label(name, 40))
        axes.set_ylabel("test accuracy (%)")
    return figure


def _draw(axes: Axes, points: Sequence[Point], name: str, others: Sequence[str]) -> None:
    values = list({_key(point[name]): point[name] for point, _ in points}.values())
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    places = {_key(v): float(v) if numeric else float(n) for n, v in enumerate(values)}
    lines: dict[str, list[tuple[float, Sequence[float]]]] = {}
    for point, accuracies in points:
        rest = ", ".join(f"{other} {point[other]}" for other in others)
        percent = [100 * value for value in accuracies if math.isfinite(value)]
        if percent:
            lines.setdefault(rest, []).append((places[_key(point[name])], percent))
    for number, (rest, line) in enumerate(lines.items()):
        line.sort(key=lambda entry: entry[0])
        middle = [mean(found) for _, found in line]
        below = [m - min(found) for m, (_, found) in zip(middle, line, strict=True)]
        above = [max(found) - m for m, (_, found) in zip(middle, line, strict=True)]
        axes.errorbar(
            [x for x, _ in line],
            middle,
            yerr=[below, above],
            capsize=3,
            linewidth=1.5,
            markersize=5,
            label=label(rest, 40),
            **look(number),
        )
    _scale(axes, list(places.values()), None if numeric else [str(v) for v in values])
    if 1 < len(lines) <= _MOST_LINES:
        axes.legend(frameon=False, labelcolor=LIGHT.ink, fontsize="small")


def _scale(axes: Axes, places: Sequence[float], names: Sequence[str] | None) -> None:
    if names is not None:
        axes.set_xticks(places, [label(name, 20) for name in names])
        return
    positive = [place for place in places if place > 0]
    if min(places) < 0 or not positive or max(positive) / min(positive) < _WIDE:
        ordered = sorted(places)
        gaps = [high - low for low, high in pairwise(ordered)]
        if gaps and min(gaps) >= _CLOSEST * (ordered[-1] - ordered[0]):
            axes.set_xticks(ordered, [f"{place:g}" for place in ordered])
        else:
            axes.locator_params(axis="x", nbins=5)
        return
    if min(places) > 0:
        axes.set_xscale("log")
    else:  # a logarithmic axis has no 0
        axes.set_xscale("symlog", linthresh=min(positive))


def _key(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value
