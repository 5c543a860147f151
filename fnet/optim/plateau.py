"""Reduce on plateau: a factor of the learning rate that falls when a metric stops improving."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Mode = Literal["min", "max"]
ThresholdMode = Literal["rel", "abs"]


class PlateauState(NamedTuple):
    """The state of reduce on plateau: 0-d tensors.

    rate: the current learning rate, float64.
    best: the best metric so far, float64.
    bad: the number of calls in a row without an improvement, int64.
    cooldown: the number of remaining calls that do not count as bad, int64.
    """

    rate: Tensor
    best: Tensor
    bad: Tensor
    cooldown: Tensor


class Plateau(NamedTuple):
    """A pair of pure functions, called between steps, usually once an epoch.

    `init() -> state` makes the first state (`init(device)` on that device).
    `update(metric, state) -> (scale, state)` takes the latest metric, a 0-d tensor or a number, and
    returns the factor of the learning rate, a 0-d float64 tensor: pass it to
    `set_hyper(opt_state, "lr_scale", scale)`. `update` does not branch on values, so it can be
    compiled, and mapped by `torch.func.vmap` to get one factor for each of several models.
    """

    init: Callable[..., PlateauState]
    update: Callable[[Tensor | float, PlateauState], tuple[Tensor, PlateauState]]


def plateau(
    base_rate: float,
    mode: Mode = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: ThresholdMode = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
) -> Plateau:
    """Return reduce on plateau. As `torch.optim.lr_scheduler.ReduceLROnPlateau`, bit for bit.

    A NaN metric is never an improvement.

    Args:
        base_rate: the learning rate for an `lr_scale` of 1; the unit of `min_lr` and `eps`.
        mode: whether a better metric is a smaller ("min") or a larger one ("max").
        factor: multiplies the learning rate at each reduction, in [0, 1).
        patience: the number of calls in a row without an improvement that cause no reduction yet;
            the next such call does.
        threshold: how much better than the best a metric must be to count as an improvement.
        threshold_mode: whether `threshold` is relative to the best ("rel") or absolute ("abs").
        cooldown: after a reduction, this many calls do not count as bad.
        min_lr: the lower limit of the learning rate.
        eps: a reduction of the learning rate by `eps` or less is not made.

    Raises:
        ValueError: for an unknown mode, a factor outside [0, 1), a base rate that is not positive.

    >>> from fnet import optim
    >>> opt_state = optim.sgd(0.1).init({"w": torch.zeros(2)})
    >>> reduce = plateau(0.1, factor=0.5, patience=1)
    >>> state = reduce.init()
    >>> for loss in (1.0, 1.0, 1.0):
    ...     scale, state = reduce.update(loss, state)
    >>> optim.get_hyper(optim.set_hyper(opt_state, "lr_scale", scale), "lr_scale").item()
    0.5
    """
    if mode not in ("min", "max"):
        raise ValueError(f'mode is "min" or "max"; got {mode!r}')
    if threshold_mode not in ("rel", "abs"):
        raise ValueError(f'threshold_mode is "rel" or "abs"; got {threshold_mode!r}')
    if not 0 <= factor < 1:
        raise ValueError(f"factor is in [0, 1), so that the rate falls; got {factor}")
    if not base_rate > 0:
        raise ValueError(f"base_rate is a learning rate, above 0; got {base_rate}")
    sign = 1.0 if mode == "max" else -1.0

    def init(device: torch.device | str | None = None) -> PlateauState:
        def full(value: float, dtype: torch.dtype) -> Tensor:
            return torch.full((), value, dtype=dtype, device=device)

        rate, best = full(base_rate, torch.float64), full(-sign * torch.inf, torch.float64)
        return PlateauState(rate, best, full(0, torch.int64), full(0, torch.int64))

    def update(metric: Tensor | float, state: PlateauState) -> tuple[Tensor, PlateauState]:
        metric = torch.as_tensor(metric, dtype=torch.float64, device=state.best.device)
        relative = threshold_mode == "rel"
        bar = state.best * (1 + sign * threshold) if relative else state.best + sign * threshold
        better = sign * metric > sign * bar
        best = torch.where(better, metric, state.best)
        cooling = state.cooldown > 0
        bad = torch.where(better | cooling, 0, state.bad + 1)

        reduce = bad > patience
        lower = (state.rate * factor).clamp(min=min_lr)
        rate = torch.where(reduce & (state.rate - lower > eps), lower, state.rate)
        bad = torch.where(reduce, 0, bad)
        remaining = torch.where(reduce, cooldown, state.cooldown - cooling.long())
        return rate / base_rate, PlateauState(rate, best, bad, remaining)

    return Plateau(init, update)
