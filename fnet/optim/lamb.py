"""LAMB: Adam with a step size per layer that is proportional to the norm of the layer's weights."""

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.adam import scale_by_adam
from fnet.optim.base import GradientTransformation, chain
from fnet.optim.clip import leaf_norm
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.optim.learning_rate import scale_by_learning_rate
from fnet.optim.weight_decay import add_decayed_weights
from fnet.tree import Tree


def scale_by_trust_ratio(
    min_norm: Hyper = 0.0, trust_coefficient: Hyper = 1.0, eps: Hyper = 0.0
) -> GradientTransformation:
    """Return the transformation that scales the update of each leaf to the norm of the leaf.

    Each update is multiplied by `trust_coefficient * norm of the param / (norm of the update +
    eps)`. Both norms are at least `min_norm`. If one of them is 0, the update stays unchanged.
    Hyper-parameters: `min_norm`, `trust_coefficient`, `eps`. As `optax.scale_by_trust_ratio`. It
    depends on leaves: do not use it on a raveled tree.

    >>> tx = scale_by_trust_ratio()
    >>> params = {"w": torch.tensor([3.0, 4.0])}
    >>> tx.update({"w": torch.tensor([0.0, 2.0])}, tx.init(params), params)[0]
    {'w': tensor([0., 5.])}
    """
    hyper = Hypers(min_norm=min_norm, trust_coefficient=trust_coefficient, eps=eps)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)

        def scale(grad: Tensor, param: Tensor) -> Tensor:
            of_param = leaf_norm(param).maximum(values["min_norm"])
            of_grad = leaf_norm(grad).maximum(values["min_norm"])
            ratio = values["trust_coefficient"] * of_param / (of_grad + values["eps"])
            ratio = torch.where((of_param == 0) | (of_grad == 0), 1.0, ratio)
            return ratio.to(grad) * grad

        return tree.map(scale, grads, params), state

    return GradientTransformation(hyper.init, update)


def lamb(
    learning_rate: Hyper,
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-6,
    weight_decay: Hyper = 0.0,
) -> GradientTransformation:
    """Return LAMB, for large batches. As `optax.lamb`, defaults included.

    You et al., "Large batch optimization for deep learning", 2020. `torch.optim` has no LAMB.
    It depends on leaves: do not use it on a raveled tree.

    Args:
        learning_rate: step size as a share of each leaf's norm; its hyper-parameter `lr_scale`
            multiplies it.
        b1: decay of the average of the gradients.
        b2: decay of the average of their squares.
        eps: added to the root of the average of the squares.
        weight_decay: `weight_decay * params` is added after the averages, before the norms.

    Raises:
        ValueError: `b1` or `b2` is 1 or more.
    """
    return chain(
        scale_by_adam(b1, b2, eps),
        add_decayed_weights(weight_decay),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
