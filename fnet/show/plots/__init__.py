"""Plots of runs and networks, with matplotlib but without pyplot and its global state."""

from fnet.show.plots.confusion import confusion
from fnet.show.plots.curves import accuracy_by_time, curve_panels, curves
from fnet.show.plots.images import filters, image_grid
from fnet.show.plots.save import render, save
from fnet.show.plots.swept import swept

__all__ = [
    "accuracy_by_time",
    "confusion",
    "curve_panels",
    "curves",
    "filters",
    "image_grid",
    "render",
    "save",
    "swept",
]
