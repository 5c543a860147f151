"""Clipping of gradients by their norm over the whole tree."""

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.tree import Tree


def global_norm(grads: Tree) -> Tensor:
    """Return the Euclidean norm of all elements of all leaves: float64, 0-d.

    Each leaf is summed in its own dtype, but at least in float32. The norm of an empty tree is 0.

    >>> global_norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])})
    tensor(5., dtype=torch.float64)
    """
    norms = [leaf_norm(leaf) for leaf in tree.leaves(grads)]
    if not norms:
        return torch.zeros((), dtype=torch.float64)
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms]))


def clip_by_global_norm(max_norm: Hyper) -> GradientTransformation:
    """Return the transformation that shrinks gradients whose `global_norm` exceeds `max_norm`.

    Hyper-parameter: `max_norm`. As `torch.nn.utils.clip_grad_norm_`: the factor is
    `min(1, max_norm / (norm + 1e-6))`, and a norm that is not finite is not an error
    (`optax.clip_by_global_norm` does not add 1e-6). Within a `partition` the norm is that of the
    leaves with this label.
    """
    hyper = Hypers(max_norm=max_norm)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)
        factor = (values["max_norm"] / (global_norm(grads) + 1e-6)).clamp(max=1.0)
        return tree.map(lambda grad: factor.to(grad) * grad, grads), state

    return GradientTransformation(hyper.init, update)


def leaf_norm(leaf: Tensor) -> Tensor:
    """Return the Euclidean norm of one leaf, summed in at least float32: float64, 0-d."""
    dtype = torch.promote_types(leaf.dtype, torch.float32)
    return torch.linalg.vector_norm(leaf, dtype=dtype).to(torch.float64)
