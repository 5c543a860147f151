"""RMSprop: gradients divided by a running root mean square."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import EmptyState, GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.sgd import trace
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class RmsState(NamedTuple):
    """Averages of the squared gradients (`nu`) and, only if centered, of the gradients (`mu`).

    They are trees like the params; if not centered, `mu` is empty.
    """

    hyper: HyperState
    nu: Tree
    mu: Tree


def scale_by_rms(
    alpha: Hyper = 0.99, eps: Hyper = 1e-8, centered: bool = False
) -> GradientTransformation:
    """Return the transformation that divides gradients by their root mean square.

    `nu = alpha * nu + (1 - alpha) * grad**2` starts at 0; the updates are
    `grad / (sqrt(nu) + eps)`. With `centered`, nu is replaced by the variance of the gradients,
    `nu - mu**2` with `mu = alpha * mu + (1 - alpha) * grad` (Graves, "Generating sequences with
    recurrent neural networks", 2013). Hyper-parameters: `alpha`, `eps`. Tieleman and Hinton,
    "RMSprop", 2012; as `torch.optim.RMSprop`, also in that eps is outside the root.

    Raises:
        ValueError: `alpha` is 1 or more.
    """
    hyper = Hypers(alpha=alpha, eps=eps)
    require_decays(alpha=alpha)

    def init(params: Tree) -> RmsState:
        zeros = tree.map(torch.zeros_like, params)
        mu = tree.map(torch.zeros_like, params) if centered else EmptyState()
        return RmsState(hyper.init(params), zeros, mu)

    def update(grads: Tree, state: RmsState, params: Tree) -> tuple[Tree, RmsState]:
        values, hyper_state = hyper.advance(state.hyper)
        alpha, eps = values["alpha"], values["eps"]

        def average(old: Tensor, new: Tensor) -> Tensor:
            return alpha.to(old) * old + (1 - alpha).to(old) * new

        def scale(grad: Tensor, square: Tensor) -> Tensor:
            return grad / (square.sqrt() + eps.to(square))

        nu = tree.map(lambda v, grad: average(v, grad**2), state.nu, grads)
        if not centered:
            return tree.map(scale, grads, nu), RmsState(hyper_state, nu, state.mu)
        mu = tree.map(average, state.mu, grads)
        # If gradients are almost constant, rounding can make the difference negative.
        variance = tree.map(lambda v, m: (v - m**2).clamp(min=0), nu, mu)
        return tree.map(scale, grads, variance), RmsState(hyper_state, nu, mu)

    return GradientTransformation(init, update)


def rmsprop(
    learning_rate: Hyper = 1e-2,
    alpha: Hyper = 0.99,
    eps: Hyper = 1e-8,
    momentum: Hyper = 0.0,
    weight_decay: Hyper = 0.0,
    centered: bool = False,
) -> GradientTransformation:
    """Return RMSprop. As `torch.optim.RMSprop`, to rounding.

    There is one difference: rounding can make the centered variance of PyTorch negative, and its
    params NaN; here the variance is then 0.

    `optax.rmsprop` has a default decay of 0.9, no default learning rate, and eps inside the root:
    `grad / sqrt(nu + eps)`.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        alpha: decay of the average of the squared gradients.
        eps: added to the root of this average.
        momentum: decay of momentum buffers of the divided gradients. If it is the number 0, there
            are no buffers and no hyper-parameters `momentum` and `dampening`.
        weight_decay: an L2 penalty: `weight_decay * params` is added to the gradients.
        centered: divide by the standard deviation of the gradients instead.

    Raises:
        ValueError: `alpha` is 1 or more.

    >>> from fnet import optim
    >>> tx = optim.rmsprop(0.1, alpha=0.75)
    >>> params = {"w": torch.tensor([1.0])}
    >>> updates, state = tx.update({"w": torch.tensor([3.0])}, tx.init(params), params)
    >>> optim.apply_updates(params, updates)
    {'w': tensor([0.8000])}
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_rms(alpha, eps, centered),
        *([] if momentum == 0 else [trace(momentum)]),
        scale_by_learning_rate(learning_rate),
    )
