"""The learning rate of each step of a run, computed from its schedule and the record."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fnet import optim
from fnet.nn.check import network_of
from fnet.run import learning_rate
from fnet.run.config import ConfigError
from fnet.run.loading import own_recipe
from fnet.run.opened import build_recorded
from fnet.run.recipe import Experiment
from fnet.run.record import RunRecord
from fnet.run.schema import Line

_POINTS = 1000
"""The maximum number of points of a curve, more than a plot has pixels."""


def scheduled_rates(experiment: Experiment, counts: Tensor) -> Tensor:
    """Return the learning rates of updates, with the scale that a plateau begins with.

    Args:
        experiment: its optimizer's updates must allow `torch.func.vmap`.
        counts: int64 `[N]`, how many updates were made before each.

    Returns:
        float64 `[N]`.
    """
    # A rate depends on no leaf, so the smallest do: partitions see their paths and dimensions.
    shapes = network_of(experiment.model).shapes
    params = {path: torch.zeros([1] * len(shape)) for path, shape in shapes.items()}
    state = experiment.tx.init(params)

    def rate(count: Tensor) -> Tensor:
        _, after = experiment.tx.update(params, optim.at_count(state, count), params)
        # vmap does not add a dimension to a constant rate.
        return learning_rate.rate(after, experiment.learning_rate) + 0 * count

    return torch.func.vmap(rate)(counts)


def rate_curve(experiment: Experiment, lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Return points (epochs since the start, learning rate) of the steps of a run.

    The rate of a step is that of the schedule, times the scale that makes the rate of its epoch's
    last step the recorded one: a plateau changes that scale from epoch to epoch.

    Args:
        experiment: the experiment of the run.
        lines: the run's metrics lines, one for each epoch.

    Returns:
        The points by step; none where lines are lost, or where the optimizer cannot be asked for
        the rate of a step.
    """
    steps_per_epoch = _steps_per_epoch(lines)
    if not steps_per_epoch:
        return []
    total = lines[-1].step
    ends = [0, *(line.step for line in lines)]
    chosen = torch.linspace(0, total - 1, min(total, _POINTS)).round().long()
    last = torch.tensor([line.step - 1 for line in lines])
    # The first step of an epoch shows where a plateau has changed the scale.
    steps = torch.cat([chosen, last, torch.tensor(ends[:-1])]).unique()
    try:
        rates = dict(zip(steps.tolist(), scheduled_rates(experiment, steps).tolist(), strict=True))
    except Exception:  # a user's own optimizer may raise anything: draw the plot without the curve
        return []
    points = []
    for line, (start, end) in zip(lines, pairwise(ends), strict=True):
        scheduled = rates[end - 1]
        scale = line.learning_rate / scheduled if scheduled else 1.0
        points += [
            (step / steps_per_epoch, scale * rate)
            for step, rate in rates.items()
            if start <= step < end
        ]
    return points


def recorded_rates(record: RunRecord) -> list[tuple[float, float]]:
    """Return the `rate_curve` of a run's record, by the recipe that it names.

    Returns:
        The points; none where that recipe is none of `recipes`, or cannot build the run by now.
    """
    try:
        recipe = own_recipe(record.setup.origin, record.path)
        _, experiment = build_recorded(record.path, record.setup, recipe)
    except ConfigError:
        return []
    return rate_curve(experiment, record.lines)


def _steps_per_epoch(lines: Sequence[Line]) -> int:
    """Return the steps of each epoch; 0 where the lines are not of epochs of one length."""
    if not lines:
        return 0
    steps = lines[0].step
    whole = all(
        line.epoch == epoch and line.step == epoch * steps for epoch, line in enumerate(lines, 1)
    )
    return max(steps, 0) if whole else 0
