"""Stochastic gradient descent with momentum."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class TraceState(NamedTuple):
    """The momentum buffers: a tree like the params."""

    hyper: HyperState
    trace: Tree


def trace(
    momentum: Hyper = 0.9, dampening: Hyper = 0.0, nesterov: bool = False
) -> GradientTransformation:
    """Return the transformation that accumulates gradients in momentum buffers.

    `buffer = momentum * buffer + (1 - dampening) * grad`; the first buffer is the gradient itself.
    The updates are the buffers, or `grad + momentum * buffer` with `nesterov`. Hyper-parameters:
    `momentum`, `dampening`. As `torch.optim.SGD`; without dampening also as `optax.trace`.
    """
    hyper = Hypers(momentum=momentum, dampening=dampening)

    def init(params: Tree) -> TraceState:
        return TraceState(hyper.init(params), tree.map(torch.zeros_like, params))

    def update(grads: Tree, state: TraceState, params: Tree) -> tuple[Tree, TraceState]:
        values, hyper_state = hyper.advance(state.hyper)
        decay = values["momentum"]
        # The initial buffer is 0. At the first update there is no dampening, so that the buffer
        # becomes the gradient.
        gain = 1 - values["dampening"] * (state.hyper.count > 0)

        def accumulate(grad: Tensor, buffer: Tensor) -> Tensor:
            return decay.to(buffer) * buffer + gain.to(grad) * grad

        def look_ahead(grad: Tensor, buffer: Tensor) -> Tensor:
            return grad + decay.to(buffer) * buffer

        buffers = tree.map(accumulate, grads, state.trace)
        updates = tree.map(look_ahead, grads, buffers) if nesterov else buffers
        return updates, TraceState(hyper_state, buffers)

    return GradientTransformation(init, update)


def sgd(
    learning_rate: Hyper,
    momentum: Hyper = 0.0,
    dampening: Hyper = 0.0,
    nesterov: bool = False,
    weight_decay: Hyper = 0.0,
) -> GradientTransformation:
    """Return stochastic gradient descent. As `torch.optim.SGD`, to rounding.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        momentum: decay of the momentum buffers. If it is the number 0, there are no buffers and no
            hyper-parameters `momentum` and `dampening`.
        dampening: all gradients but the first are multiplied by `1 - dampening` before they are
            added to the buffers.
        nesterov: use Nesterov momentum (Sutskever et al., 2013).
        weight_decay: an L2 penalty: `weight_decay * params` is added to the gradients.

    Raises:
        ValueError: for `nesterov` without momentum or with dampening, as torch does.

    >>> from fnet import optim
    >>> tx = optim.sgd(0.1, momentum=0.9)
    >>> params = {"w": torch.tensor([1.0])}
    >>> updates, state = tx.update({"w": torch.tensor([2.0])}, tx.init(params), params)
    >>> optim.apply_updates(params, updates)
    {'w': tensor([0.8000])}
    """
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError("nesterov needs momentum > 0 and dampening = 0")
    return chain(
        add_decayed_weights(weight_decay),
        *([] if momentum == 0 else [trace(momentum, dampening, nesterov)]),
        scale_by_learning_rate(learning_rate),
    )
