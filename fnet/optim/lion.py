"""Lion: updates by the sign of averaged gradients."""

from typing import NamedTuple

from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.moments import average, zeros_like
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


class LionState(NamedTuple):
    """The average of the gradients (`mu`): a tree like the params."""

    hyper: HyperState
    mu: Tree


def scale_by_lion(b1: Hyper = 0.9, b2: Hyper = 0.99) -> GradientTransformation:
    """Return the transformation whose updates are 1, 0 or -1: the sign of an average.

    The updates are `sign(b1 * mu + (1 - b1) * grad)`, then `mu = b2 * mu + (1 - b2) * grad`, which
    starts at 0. Hyper-parameters: `b1`, `b2`. As `optax.scale_by_lion`.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    hyper = Hypers(b1=b1, b2=b2)
    require_decays(b1=b1, b2=b2)

    def init(params: Tree) -> LionState:
        return LionState(hyper.init(params), zeros_like(params))

    def update(grads: Tree, state: LionState, params: Tree) -> tuple[Tree, LionState]:
        values, hyper_state = hyper.advance(state.hyper)
        b1 = values["b1"]

        def direction(grad: Tensor, m: Tensor) -> Tensor:
            return ((1 - b1).to(grad) * grad + b1.to(m) * m).sign()

        updates = tree.map(direction, grads, state.mu)
        return updates, LionState(hyper_state, average(values["b2"], state.mu, grads))

    return GradientTransformation(init, update)


def lion(
    learning_rate: Hyper, b1: Hyper = 0.9, b2: Hyper = 0.99, weight_decay: Hyper = 1e-3
) -> GradientTransformation:
    """Return Lion, with decoupled weight decay. As `optax.lion`, defaults included.

    Every element moves by the learning rate, so a good learning rate is 3 to 10 times smaller than
    for AdamW, and a good weight decay is larger by the same factor (Chen et al., "Symbolic
    discovery of optimization algorithms", 2023). `torch.optim` has no Lion.

    Args:
        learning_rate: step size; its hyper-parameter `lr_scale` multiplies it.
        b1: the share of the average in the direction.
        b2: decay of the average of the gradients.
        weight_decay: the params shrink by the factor `1 - learning_rate * weight_decay`.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.

    >>> import torch
    >>> from fnet import optim
    >>> tx = optim.lion(0.25, weight_decay=0.0)
    >>> params = {"w": torch.tensor([1.0, 1.0])}
    >>> tx.update({"w": torch.tensor([0.001, -7.0])}, tx.init(params), params)[0]
    {'w': tensor([-0.2500,  0.2500])}
    """
    return chain(
        scale_by_lion(b1, b2),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )
