"""Schedules: a hyper-parameter's value as a function of the step count.

Steps count updates from 0. Every schedule is elementwise, so `schedule(torch.arange(steps))` is the
whole curve. It is computed in float64 on the device of the count: a new count never causes
recompilation.
"""

from fnet.optim.schedules.curves import (
    Schedule,
    constant,
    cosine,
    join,
    linear,
    one_cycle,
    piecewise,
)
from fnet.optim.schedules.decays import (
    exponential_decay,
    polynomial_schedule,
    warmup_cosine_decay_schedule,
)

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential_decay",
    "join",
    "linear",
    "one_cycle",
    "piecewise",
    "polynomial_schedule",
    "warmup_cosine_decay_schedule",
]
