"""Exponential moving averages of trees: the first and the second moment of gradients."""

import torch
from torch import Tensor

from fnet import tree
from fnet.tree import Tree


def average(decay: Tensor, old: Tree, new: Tree) -> Tree:
    """Return `decay * old + (1 - decay) * new`, computed as by `torch.lerp`.

    Args:
        decay: float64 0-d.
        old: the average so far.
        new: the new values, a tree like `old`.
    """
    return tree.map(lambda m, value: m + (1 - decay).to(m) * (value - m), old, new)


def average_squares(decay: Tensor, old: Tree, new: Tree) -> Tree:
    """Return `decay * old + (1 - decay) * new**2`; the arguments are those of `average`."""
    return tree.map(lambda v, value: decay.to(v) * v + (1 - decay).to(v) * value**2, old, new)


def zeros_like(params: Tree) -> Tree:
    """Return the average before the first update."""
    return tree.map(torch.zeros_like, params)
