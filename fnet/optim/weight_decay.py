"""Weight decay as one transformation of a chain."""

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.tree import Tree


def add_decayed_weights(weight_decay: Hyper = 0.0) -> GradientTransformation:
    """Return the transformation `grads + weight_decay * params`.

    First in a chain, it is an L2 penalty. After the scaling by statistics and before the learning
    rate, it is decoupled weight decay (Loshchilov and Hutter, 2019). Hyper-parameter:
    `weight_decay`. As `optax.add_decayed_weights`; use `partition` to exclude biases and
    normalisation layers.
    """
    hyper = Hypers(weight_decay=weight_decay)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)
        decay = values["weight_decay"]
        return tree.map(lambda grad, param: grad + decay.to(grad) * param, grads, params), state

    return GradientTransformation(hyper.init, update)
