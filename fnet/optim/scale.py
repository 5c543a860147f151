"""Scaling of updates by a number, or by a schedule."""

import math

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.optim.schedules import Schedule
from fnet.tree import Tree


def scale(step_size: Hyper) -> GradientTransformation:
    """Return the transformation `step_size * grads`; unlike a learning rate, it keeps the sign.

    Hyper-parameter: `step_size`, of either sign. As `optax.scale`: gradient descent is
    `scale(-0.1)`. As the last transformation of an optimizer, prefer `scale_by_learning_rate`: its
    `lr_scale` can be set between steps.

    >>> import torch
    >>> tx = scale(-0.5)
    >>> params = {"w": torch.tensor([1.0])}
    >>> tx.update({"w": torch.tensor([3.0])}, tx.init(params), params)[0]
    {'w': tensor([-1.5000])}
    """
    hyper = Hypers(-math.inf, step_size=step_size)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)
        size = values["step_size"]
        return tree.map(lambda grad: size.to(grad) * grad, grads), state

    return GradientTransformation(hyper.init, update)


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Return the transformation `step_size_fn(count) * grads`: `scale` by a schedule.

    As `optax.scale_by_schedule`. Hyper-parameter: `step_size`, the value of the schedule.

    Raises:
        TypeError: `step_size_fn` is a number: use `scale`.
    """
    if not callable(step_size_fn):
        raise TypeError(f"step_size_fn is a schedule; got {step_size_fn!r}: use scale for a number")
    return scale(step_size_fn)
