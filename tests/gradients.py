"""Gradients of a layer for tests: with respect to its weights and its input."""

import torch
from torch.func import grad


def gradients(fn, weights, x):
    """Return the gradients of a weighted sum of `fn(weights, x)`, to both, and that result."""

    def loss(weights, x):
        y = fn(weights, x)
        scale = 1.5 + torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape)
        return (y.double() * scale).sum(), y

    return grad(loss, argnums=(0, 1), has_aux=True)(weights, x)
