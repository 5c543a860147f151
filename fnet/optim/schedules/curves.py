"""The curves of `torch.optim.lr_scheduler`, and `join`, which concatenates schedules."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Schedule: TypeAlias = Callable[[Tensor], Tensor]


def constant(value: float) -> Schedule:
    """Return the schedule that is always `value`."""

    def schedule(count: Tensor) -> Tensor:
        return torch.full_like(count, value, dtype=torch.float64)

    return schedule


def piecewise(init: float, values: Mapping[int, float]) -> Schedule:
    """Return a piecewise constant schedule: `init`, then `values[step]` from each step on.

    The values are absolute, unlike the factors of `optax.piecewise_constant_schedule`. With
    `{60: 0.1 * init, 80: 0.01 * init}` it is `torch.optim.lr_scheduler.MultiStepLR`.

    >>> piecewise(0.1, {2: 0.05, 3: 0.01})(torch.arange(5)).tolist()
    [0.1, 0.1, 0.05, 0.01, 0.01]
    """
    steps = sorted(values.items())

    def schedule(count: Tensor) -> Tensor:
        value = constant(init)(count)
        for start, then in steps:
            value = torch.where(count >= start, constant(then)(count), value)
        return value

    return schedule


def linear(init: float, end: float, steps: int) -> Schedule:
    """Return the straight line from `init` at step 0 to `end` at step `steps`, then `end`.

    As `torch.optim.lr_scheduler.LinearLR` and `optax.linear_schedule`; a warm-up is
    `join([linear(0.0, peak, 500), cosine(peak, 9500)], [500])`.

    >>> linear(0.0, 1.0, 4)(torch.arange(6)).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    require_steps(steps)

    def schedule(count: Tensor) -> Tensor:
        return init + (end - init) * progress_between(count, 0, steps)

    return schedule


def cosine(init: float, steps: int, end: float = 0.0) -> Schedule:
    """Return half a cosine wave from `init` at step 0 to `end` at step `steps`, then `end`.

    As `torch.optim.lr_scheduler.CosineAnnealingLR` (which rises again after `steps`) and
    `optax.cosine_decay_schedule`. Loshchilov and Hutter, "SGDR", 2017.

    >>> cosine(1.0, 4)(torch.arange(0, 6, 2)).round(decimals=6).tolist()
    [1.0, 0.5, 0.0]
    """
    require_steps(steps)

    def schedule(count: Tensor) -> Tensor:
        return _cos_anneal(init, end, progress_between(count, 0, steps))

    return schedule


def one_cycle(
    peak: float,
    steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal: Literal["cos", "linear"] = "cos",
) -> Schedule:
    """Return one cycle: up from `peak / div_factor` to `peak`, then down until step `steps - 1`.

    The peak is at step `pct_start * steps - 1`; the last value is `peak / div_factor /
    final_div_factor`. As `torch.optim.lr_scheduler.OneCycleLR` in two phases; for its momentum
    cycle, pass another schedule as `momentum` or `b1`. Smith and Topin, "Super-Convergence", 2018.

    In `optax.cosine_onecycle_schedule` the peak is one step later, at `int(pct_start * steps)`, and
    the last value is at step `steps`; `optax.linear_onecycle_schedule` falls in two linear phases,
    which meet at 85 % of the steps.
    """
    require_steps(steps)
    if not 0.0 <= pct_start <= 1.0:
        raise ValueError(f"pct_start is a fraction of the steps, in [0, 1]; got {pct_start}")
    curves = {"cos": _cos_anneal, "linear": _linear_anneal}
    if anneal not in curves:
        raise ValueError(f'anneal is "cos" or "linear"; got {anneal!r}')
    curve = curves[anneal]
    init = peak / div_factor
    top, last = pct_start * steps - 1, steps - 1

    def schedule(count: Tensor) -> Tensor:
        rising = curve(init, peak, progress_between(count, 0, top))
        falling = curve(peak, init / final_div_factor, progress_between(count, top, last))
        return torch.where(count <= top, rising, falling)

    return schedule


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Return the concatenation of schedules; each counts its steps from its own start.

    The schedule `schedules[i + 1]` starts at step `boundaries[i]`. As
    `torch.optim.lr_scheduler.SequentialLR` and `optax.join_schedules`.

    >>> join([linear(0.0, 1.0, 2), constant(1.0), cosine(1.0, 2)], [2, 4])(torch.arange(7)).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"{len(schedules)} schedules meet at {len(schedules) - 1} boundaries; "
            f"got {len(boundaries)} boundaries"
        )
    if any(later <= earlier for earlier, later in pairwise([0, *boundaries])):
        raise ValueError(f"boundaries are positive and increasing; got {list(boundaries)}")

    def schedule(count: Tensor) -> Tensor:
        value = schedules[0](count)
        for start, then in zip(boundaries, schedules[1:], strict=True):
            value = torch.where(count >= start, then((count - start).clamp(min=0)), value)
        return value

    return schedule


def progress_between(count: Tensor, start: float, end: float) -> Tensor:
    """Return the fraction of the interval from `start` to `end` at `count`; 1 if it is empty."""
    if end <= start:
        return torch.ones_like(count, dtype=torch.float64)
    return ((count.to(torch.float64) - start) / (end - start)).clamp(0.0, 1.0)


def _cos_anneal(init: float, end: float, progress: Tensor) -> Tensor:
    return end + (init - end) / 2.0 * (1.0 + torch.cos(math.pi * progress))


def _linear_anneal(init: float, end: float, progress: Tensor) -> Tensor:
    return init + (end - init) * progress


def require_steps(steps: int) -> None:
    """Raise a ValueError unless a schedule has at least one step."""
    if steps < 1:
        raise ValueError(f"steps is the length of the schedule, at least 1; got {steps}")
