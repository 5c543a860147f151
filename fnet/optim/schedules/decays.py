"""Decay schedules with the names, arguments and values of optax."""

import torch
from torch import Tensor

from fnet.optim.schedules.curves import Schedule, progress_between, require_steps


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Return a straight line up to `peak_value`, then half a cosine wave down to `end_value`.

    As `optax.warmup_cosine_decay_schedule`. With an exponent of 1 it is `join([linear(init_value,
    peak_value, warmup_steps), cosine(peak_value, decay_steps - warmup_steps, end_value)],
    [warmup_steps])`.

    Args:
        init_value: the value at step 0.
        peak_value: the value at step `warmup_steps`.
        warmup_steps: the length of the warm-up, 0 for none.
        decay_steps: the length of the whole schedule, the warm-up included.
        end_value: the value from step `decay_steps` on.
        exponent: the cosine wave, between 0 and 1, is raised to this power.

    Raises:
        ValueError: the warm-up is negative, or leaves no steps for the decay.

    >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6)
    >>> schedule(torch.arange(0, 8)).round(decimals=3).tolist()
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    if not 0 <= warmup_steps < decay_steps:
        raise ValueError(
            "decay_steps is the length of the whole schedule, warm-up included, so warmup_steps is "
            f"0 or more and below it; got warmup_steps={warmup_steps}, decay_steps={decay_steps}"
        )

    def schedule(count: Tensor) -> Tensor:
        rising = progress_between(count, 0, warmup_steps)
        falling = progress_between(count, warmup_steps, decay_steps)
        wave = (0.5 * (1.0 + torch.cos(torch.pi * falling))) ** exponent
        up = init_value + (peak_value - init_value) * rising
        return torch.where(count < warmup_steps, up, end_value + (peak_value - end_value) * wave)

    return schedule


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Return `init_value * decay_rate ** ((count - transition_begin) / transition_steps)`.

    As `optax.exponential_decay`. With `transition_steps=1` it is
    `torch.optim.lr_scheduler.ExponentialLR`, with `staircase` it is `StepLR`.

    Args:
        init_value: the value up to step `transition_begin`.
        transition_steps: the number of steps in which the value is multiplied by `decay_rate`.
        decay_rate: above 0; above 1 the value grows.
        transition_begin: the step at which the decay begins.
        staircase: whether the exponent is rounded down to a whole number.
        end_value: the value goes no lower than this (for a `decay_rate` of 1 or more, no higher).

    Raises:
        ValueError: `transition_steps` is below 1, `decay_rate` is not above 0 (optax then takes the
            schedule as constant), or `transition_begin` is negative.

    >>> exponential_decay(0.8, 2, 0.25, staircase=True)(torch.arange(5)).tolist()
    [0.8, 0.8, 0.2, 0.2, 0.05]
    """
    require_steps(transition_steps)
    _require_begin(transition_begin)
    if not decay_rate > 0:
        raise ValueError(f"decay_rate is a factor above 0; got {decay_rate}")

    def schedule(count: Tensor) -> Tensor:
        power = (count.to(torch.float64) - transition_begin).clamp(min=0) / transition_steps
        value = init_value * decay_rate ** (power.floor() if staircase else power)
        if end_value is None:
            return value
        return value.clamp(min=end_value) if decay_rate < 1 else value.clamp(max=end_value)

    return schedule


def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: float,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """Return `(init_value - end_value) * (1 - progress) ** power + end_value`.

    The progress goes from 0 at step `transition_begin` to 1 in `transition_steps` steps. As
    `optax.polynomial_schedule`; with an `end_value` of 0 as
    `torch.optim.lr_scheduler.PolynomialLR`; with a power of 1 as `linear`.

    Raises:
        ValueError: `transition_steps` is below 1 (optax then takes the schedule as constant),
            or `transition_begin` is negative.

    >>> polynomial_schedule(1.0, 0.0, 2, transition_steps=2)(torch.arange(4)).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    require_steps(transition_steps)
    _require_begin(transition_begin)

    def schedule(count: Tensor) -> Tensor:
        left = 1 - progress_between(count, transition_begin, transition_begin + transition_steps)
        return (init_value - end_value) * left**power + end_value

    return schedule


def _require_begin(transition_begin: int) -> None:
    if transition_begin < 0:
        raise ValueError(f"transition_begin is a step, 0 or more; got {transition_begin}")
