"""Adagrad: gradients divided by the root of the sum of all their squares."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class RssState(NamedTuple):
    """The sums of the gradients' squares: a tree like the params."""

    hyper: HyperState
    sum_of_squares: Tree


def scale_by_rss(
    initial_accumulator_value: float = 0.0, eps: Hyper = 1e-10
) -> GradientTransformation:
    """Return the transformation that divides gradients by their root sum of squares.

    `sum_of_squares = sum_of_squares + grad**2`; the updates are
    `grad / (sqrt(sum_of_squares) + eps)`. Hyper-parameter: `eps`. As `torch.optim.Adagrad`;
    `optax.scale_by_rss` starts at 0.1 and has an eps of 1e-7 inside the root.

    Args:
        initial_accumulator_value: the initial value of the sums, 0 or more.
        eps: added to the root.

    Raises:
        ValueError: the initial value is negative.
    """
    hyper = Hypers(eps=eps)
    if not initial_accumulator_value >= 0:
        raise ValueError(
            f"initial_accumulator_value is at least 0; got {initial_accumulator_value}"
        )

    def init(params: Tree) -> RssState:
        full = tree.map(lambda leaf: torch.full_like(leaf, initial_accumulator_value), params)
        return RssState(hyper.init(params), full)

    def update(grads: Tree, state: RssState, params: Tree) -> tuple[Tree, RssState]:
        values, hyper_state = hyper.advance(state.hyper)
        eps = values["eps"]

        def scale(grad: Tensor, total: Tensor) -> Tensor:
            # If all gradients were 0 and eps underflows to 0 in the dtype, the update is 0.
            root = total.sqrt() + eps.to(total)
            return torch.where(root > 0, grad / root, torch.zeros_like(grad))

        sums = tree.map(lambda total, grad: total + grad**2, state.sum_of_squares, grads)
        return tree.map(scale, grads, sums), RssState(hyper_state, sums)

    return GradientTransformation(init, update)


def adagrad(
    learning_rate: Hyper = 1e-2,
    eps: Hyper = 1e-10,
    weight_decay: Hyper = 0.0,
    initial_accumulator_value: float = 0.0,
) -> GradientTransformation:
    """Return Adagrad. As `torch.optim.Adagrad`, to rounding (Duchi et al., 2011).

    Instead of its `lr_decay`, use a schedule. `optax.adagrad` has no default learning rate, an
    initial value of 0.1, and an eps of 1e-7 inside the root.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        eps: added to the root of the sum of the squared gradients.
        weight_decay: an L2 penalty: `weight_decay * params` is added to the gradients.
        initial_accumulator_value: the initial value of the sums, 0 or more.

    Raises:
        ValueError: the initial value is negative.

    >>> from fnet import optim
    >>> tx = optim.adagrad(0.5)
    >>> params = {"w": torch.tensor([1.0])}
    >>> tx.update({"w": torch.tensor([4.0])}, tx.init(params), params)[0]
    {'w': tensor([-0.5000])}
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_rss(initial_accumulator_value, eps),
        scale_by_learning_rate(learning_rate),
    )
