"""The curves of one run or several, ready for a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from fnet.run.record import RunRecord
from fnet.run.report.pictures import plot
from fnet.show import plots
from fnet.show.plots.curves import look

_GLYPHS = dict(zip("os^DvPX<*>ph", "●■▲◆▼✚✖◀★▶⬟⬢", strict=True))
"""Matplotlib's markers as letters of a legend."""


def curves_view(
    runs: Mapping[str, RunRecord], rates: Sequence[Sequence[tuple[float, float]]]
) -> dict[str, Any]:
    """Return what the macro `curves` shows: the panels, and a legend.

    Args:
        runs: by the names to show.
        rates: the learning rates of each run's steps, empty where they are not known.
    """
    lines = {name: record.curves for name, record in runs.items()}
    panels = plots.curve_panels(lines, dict(zip(runs, rates, strict=True)))
    validation = any("validation_loss" in line for curve in lines.values() for line in curve)
    looks = [look(number) for number in range(len(runs))]
    return {
        "styles": ["train", "test", *(["validation"] if validation else [])],
        "runs": [
            {"name": name, "color": own["color"], "marker": _GLYPHS[own["marker"]]}
            for name, own in zip(runs, looks, strict=True)
        ]
        if len(runs) > 1
        else [],
        "panels": [(name, plot(figure)) for name, figure in panels.items()],
    }
