"""Adaptive gradient clipping: the limit depends on the norm of the weights."""

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.tree import Tree


def adaptive_grad_clip(clipping: Hyper, eps: Hyper = 1e-3) -> GradientTransformation:
    """Return the transformation that shrinks gradients that are large compared to their weights.

    The norm of the gradient of each unit is at most `clipping * max(norm of its weights, eps)`. A
    unit is one output of a layer: `leaf[i]` of a leaf with two dimensions or more; a vector (a
    bias) is one unit. Hyper-parameters: `clipping`, `eps`. Brock et al., "High-performance
    large-scale image recognition without normalization", 2021. As `optax.adaptive_grad_clip`, where
    units are along the last dimension, which is the output dimension in flax. There, a matrix with
    one row or one column is also a single unit, and for three dimensions only the first is summed
    over. It depends on shapes: do not use it on a raveled tree.

    >>> tx = adaptive_grad_clip(0.5)
    >>> params = {"w": torch.tensor([[3.0, 4.0], [3.0, 4.0]])}
    >>> grads = {"w": torch.tensor([[0.0, 1.0], [0.0, 10.0]])}
    >>> tx.update(grads, tx.init(params), params)[0]["w"]
    tensor([[0.0000, 1.0000],
            [0.0000, 2.5000]])
    """
    hyper = Hypers(clipping=clipping, eps=eps)

    def update(grads: Tree, state: HyperState, params: Tree) -> tuple[Tree, HyperState]:
        values, state = hyper.advance(state)

        def clip(grad: Tensor, param: Tensor) -> Tensor:
            norm, weights = _unit_norms(grad), _unit_norms(param)
            most = values["clipping"].to(weights) * weights.maximum(values["eps"].to(weights))
            # As in optax: clamped, so that there is no division by 0.
            factor = torch.where(norm < most, 1.0, most / norm.clamp(min=1e-6))
            return grad * factor.to(grad)

        return tree.map(clip, grads, params), state

    return GradientTransformation(hyper.init, update)


def _unit_norms(leaf: Tensor) -> Tensor:
    """Return the norm of each unit, in at least float32, in a shape that broadcasts to the leaf."""
    dims = tuple(range(min(1, leaf.ndim - 1), leaf.ndim)) if leaf.ndim else None
    dtype = torch.promote_types(leaf.dtype, torch.float32)
    return torch.linalg.vector_norm(leaf, dim=dims, keepdim=True, dtype=dtype)
