"""Curves of runs over epochs: loss, accuracy and learning rate."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fnet.show.plots.style import COLORS, LIGHT, MARKERS, label, new_axes, new_figure

Line: TypeAlias = Mapping[str, float]
"""The figures of one epoch: a line of `metrics.jsonl`."""

_MARKS = 12  # about as many markers on a curve; a shorter one has a marker at every epoch


Rates: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]
"""By a run's name, the learning rates of its steps: (epochs since the start, learning rate)."""


def curves(runs: Mapping[str, Sequence[Line]], rates: Rates | None = None) -> Figure:
    """Return a figure of the loss, the accuracy and the learning rate of one or more runs.

    A run has the same colour and marker in all three plots; train curves are dashed, test curves
    solid, validation curves dotted. An axis is logarithmic if the losses differ by a factor of
    1000, or the learning rates by a factor of 10 (but not by more than 10,000, because then the
    schedule decays to zero). A missing or non-finite value is a gap.

    Args:
        runs: the lines of each run's `metrics.jsonl`, by the name in the legend.
        rates: the learning rates of steps. Without them, the learning rate is a step function of
            the epoch, with the rate of each epoch's last step.

    Raises:
        ValueError: no run is given.
    """
    names = [label(name, 40) for name in runs]
    if not names:
        raise ValueError("there is nothing to draw: give at least one run")
    rows = math.ceil(len(runs) / _columns(names))
    figure = new_figure(10, 6 + 0.25 * rows)
    grid = figure.add_gridspec(2, 2, height_ratios=(5, 3))
    places = (grid[0, 0], grid[0, 1], grid[1, :])
    for (name, draw), place in zip(_DRAWN.items(), places, strict=True):
        axes = new_axes(figure, place)
        draw(axes, runs, rates or {})
        axes.set_ylabel(name)
    _legend(figure, names, validation=_has_validation(runs))
    return figure


def curve_panels(
    runs: Mapping[str, Sequence[Line]], rates: Rates | None = None
) -> dict[str, Figure]:
    """Return the three plots of `curves` as figures by name, small and without a legend.

    On a page they stand beside each other or below each other, as its width allows.
    """
    panels = {}
    for name, draw in _DRAWN.items():
        panels[name] = new_figure(4.2, 2.9)
        draw(new_axes(panels[name], 111), runs, rates or {})
    return panels


def look(number: int) -> dict[str, Any]:
    """Return the colour and the marker of the run in this place."""
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def _draw_loss(axes: Axes, runs: Mapping[str, Sequence[Line]], rates: Rates) -> None:
    for number, lines in enumerate(runs.values()):
        _draw(axes, number, lines, "loss")
    _by_epoch(axes, runs, margin=0.5)
    _log_where_wide(axes, 1000)


def _draw_accuracy(axes: Axes, runs: Mapping[str, Sequence[Line]], rates: Rates) -> None:
    for number, lines in enumerate(runs.values()):
        _draw(axes, number, lines, "accuracy", scale=100)
    _by_epoch(axes, runs, margin=0.5)


def _draw_rates(axes: Axes, runs: Mapping[str, Sequence[Line]], rates: Rates) -> None:
    for number, (name, lines) in enumerate(runs.items()):
        # Equal schedules overlap: later runs have thinner lines, so that all are visible.
        width = 1.5 + 3.5 * (1 - (number + 1) / len(runs))
        color = look(number)["color"]
        if points := rates.get(name):
            axes.plot(*zip(*points, strict=True), linewidth=width, color=color)
        else:
            _draw_last_rates(axes, lines, width, color)
    _by_epoch(axes, runs, margin=1)
    _log_where_wide(axes, 10, 10_000)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)


_DRAWN = {"loss": _draw_loss, "accuracy (%)": _draw_accuracy, "learning rate": _draw_rates}


def _by_epoch(axes: Axes, runs: Mapping[str, Sequence[Line]], margin: float) -> None:
    """Have the axis count epochs, from the start of the first (a margin of 1) to the last."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    epochs = [line["epoch"] for lines in runs.values() for line in lines]
    if epochs:
        axes.set_xlim(min(epochs) - margin, max(epochs) + (0 if margin == 1 else margin))


def _draw(axes: Axes, number: int, lines: Sequence[Line], quantity: str, scale: float = 1) -> None:
    epochs = [line["epoch"] for line in lines]
    every = max(1, len(lines) // _MARKS)
    own = look(number)
    styles = [("train", "--", 1.2, "none"), ("test", "-", 1.8, own["color"])]
    if _has_validation({"": lines}):
        styles.append(("validation", ":", 1.5, "none"))
    for part, style, width, fill in styles:
        axes.plot(
            epochs,
            [scale * value for value in _values(lines, f"{part}_{quantity}")],
            linestyle=style,
            linewidth=width,
            **own,
            markersize=5,
            markerfacecolor=fill,
            # Shifted, so that overlapping curves have their markers at different epochs.
            markevery=(number % every, every),
        )


def _draw_last_rates(axes: Axes, lines: Sequence[Line], width: float, color: str) -> None:
    epochs = [line["epoch"] for line in lines]
    rates = _values(lines, "learning_rate")
    axes.plot(
        [epochs[0] - 1, *epochs] if epochs else [],
        [rates[0], *rates] if rates else [],
        drawstyle="steps-pre",
        linewidth=width,
        color=color,
    )


def _has_validation(runs: Mapping[str, Sequence[Line]]) -> bool:
    return any("validation_loss" in line for lines in runs.values() for line in lines)


def _values(lines: Sequence[Line], name: str) -> list[float]:
    values = (line.get(name, math.nan) for line in lines)
    return [value if math.isfinite(value) else math.nan for value in values]


def _log_where_wide(axes: Axes, factor: float, most: float = math.inf) -> None:
    drawn = [float(y) for line in axes.lines for y in np.asarray(line.get_ydata())]
    values = [y for y in drawn if not math.isnan(y)]
    if not values or min(values) <= 0:
        return
    if 0.999 * factor < max(values) / min(values) < 1.001 * most:
        axes.set_yscale("log")


def accuracy_by_time(runs: Mapping[str, Sequence[Line]]) -> Figure:
    """Return the accuracy of one or more runs by the seconds, or minutes, that they had taken.

    Runs look as in `curves`. The time of a run is the sum of its epochs' `seconds`.

    Args:
        runs: the lines of each run's `metrics.jsonl`, by the name for the legend.

    Raises:
        ValueError: no run is given.
    """
    if not runs:
        raise ValueError("there is nothing to draw: give at least one run")
    names = [label(name, 40) for name in runs]
    figure = new_figure(10, 4 + 0.25 * math.ceil(len(runs) / _columns(names)))
    axes = new_axes(figure, 111)
    passed = [list(accumulate(_values(lines, "seconds"))) for lines in runs.values()]
    longest = max((times[-1] for times in passed if times), default=0.0)
    unit, seconds = ("minutes", 60) if longest > 600 else ("seconds", 1)
    for number, (lines, times) in enumerate(zip(runs.values(), passed, strict=True)):
        by_time = [
            {**line, "epoch": time / seconds} for line, time in zip(lines, times, strict=True)
        ]
        _draw(axes, number, by_time, "accuracy", scale=100)
    axes.set_xlabel(unit)
    axes.set_ylabel("accuracy (%)")
    axes.set_xlim(left=0)
    _legend(figure, names, validation=_has_validation(runs))
    return figure


def _columns(names: Sequence[str]) -> int:
    return max(1, min(4, 110 // (max(map(len, names)) + 6)))


def _legend(figure: Figure, names: Sequence[str], validation: bool) -> None:
    """Add the legend of the line styles, and of several runs' colours and markers."""
    options: Any = {"frameon": False, "labelcolor": LIGHT.ink}
    styles: dict[str, Any] = {"train": (4, 2), "test": (None, None)}
    if validation:
        styles["validation"] = (1, 2)
    parts = [Line2D([], [], color=LIGHT.ink, dashes=dashes) for dashes in styles.values()]
    figure.legend(parts, list(styles), loc="outside upper right", ncols=len(styles), **options)
    if len(names) == 1:
        figure.suptitle(names[0], color=LIGHT.ink)
        return
    handles = [
        Line2D([], [], linewidth=1.8, markersize=5, **look(number)) for number in range(len(names))
    ]
    places = [str(number) for number in range(len(names))]
    legend = figure.legend(
        handles, places, loc="outside lower center", ncols=_columns(names), **options
    )
    # Set afterwards: matplotlib hides a label that begins with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
