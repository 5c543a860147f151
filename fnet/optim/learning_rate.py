"""The last transformation of an optimizer's chain: multiplication by minus the learning rate."""

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.tree import Tree


def scale_by_learning_rate(learning_rate: Hyper) -> GradientTransformation:
    """Return the transformation `-learning_rate * lr_scale * grads`.

    Hyper-parameters: `learning_rate` and `lr_scale` (default 1.0), which multiplies it. Set
    `lr_scale` between steps if the learning rate follows a schedule. As
    `optax.scale_by_learning_rate`.
    """
    hyper = Hypers(learning_rate=learning_rate, lr_scale=1.0)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)
        rate = -values["learning_rate"] * values["lr_scale"]
        return tree.map(lambda grad: rate.to(grad) * grad, grads), state

    return GradientTransformation(hyper.init, update)
