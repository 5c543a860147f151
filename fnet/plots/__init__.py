"""Figures of runs and networks: matplotlib, without pyplot and its global state."""

from fnet.plots.confusion import confusion
from fnet.plots.curves import curves
from fnet.plots.images import filters, image_grid
from fnet.plots.save import render, save

__all__ = ["confusion", "curves", "filters", "image_grid", "render", "save"]
