"""The arguments of a function, separated into tensors and everything else."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fnet.private import pytree
from fnet.tree.walk import Tree, builder, flatten


def split_tensors(tree: Tree) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Tree]]:
    """Return the tensors of a tree in order, and a function that rebuilds the tree from others.

    The function holds no reference to the tensors.

    >>> import torch
    >>> found, join = split_tensors({"x": torch.ones(2), "n": 3})
    >>> join([2 * x for x in found])
    {'x': tensor([2., 2.]), 'n': 3}
    """
    every, structure = flatten(tree)
    places = [place for place, leaf in enumerate(every) if isinstance(leaf, Tensor)]
    constants = [None if isinstance(leaf, Tensor) else leaf for leaf in every]
    build = builder(structure)

    def join(tensors: Sequence[Tensor]) -> Tree:
        values = list(constants)
        for place, tensor in zip(places, tensors, strict=True):
            values[place] = tensor
        return build(values)

    return [every[place] for place in places], join


def signature(tree: Tree) -> tuple[list[Tensor], Hashable]:
    """Return the tensors of a tree in order, and a hashable signature that ignores their values.

    The signature consists of the tree's structure, the shape, strides, dtype, device and
    `requires_grad` of each tensor, and the other leaves, which must be hashable. It is fast, for a
    function that is called often.

    >>> import torch
    >>> x = torch.ones(2)
    >>> signature({"x": x, "n": 3})[0]
    [tensor([1., 1.])]
    >>> signature((x, {"n": 3}))[1] == signature((x + 1, {"n": 3}))[1]
    True
    >>> signature((x, {"n": 3}))[1] == signature((x, {"n": 4}))[1]
    False
    """
    tensors: list[Tensor] = []
    rest: list[Hashable] = []
    _gather((tree,), tensors, rest)
    return tensors, tuple(rest)


def _gather(nodes: Iterable[Tree], tensors: list[Tensor], rest: list[Hashable]) -> None:
    for node in nodes:
        kind = type(node)
        if isinstance(node, Tensor):
            tensors.append(node)
            rest.append((node.shape, node.stride(), node.dtype, node.device, node.requires_grad))
        elif kind is dict:
            rest.append((kind, _keys(node)))
            _gather(node.values(), tensors, rest)
        elif kind is tuple or kind is list or hasattr(kind, "_fields"):
            rest.append((kind, len(node)))
            _gather(node, tensors, rest)
        elif pytree.tree_is_leaf(node):
            rest.append(_exact(node))
        else:
            is_child = functools.partial(operator.is_not, node)
            children, spec = pytree.tree_flatten(node, is_leaf=is_child)
            rest.append((spec, _keys(node) if isinstance(node, dict) else None))
            _gather(children, tensors, rest)


def _keys(node: dict[Hashable, Tree]) -> Hashable:
    for key in node:
        if type(key) is not str:
            return _exact(tuple(node))
    return tuple(node)


def _exact(value: Any) -> Hashable:
    """Return a key that tells constants apart that Python calls equal: 0.0 and -0.0, 1 and True.

    It is equal for each NaN. Objects of other classes than these are compared by their `==`.
    """
    kind = type(value)
    if isinstance(value, float | complex | np.generic):
        return kind, repr(value)
    if isinstance(value, tuple):
        return kind, tuple(map(_exact, value))
    if isinstance(value, frozenset):
        return kind, frozenset(map(_exact, value))
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.eq and parameters.frozen:
        compared = (field.name for field in dataclasses.fields(value) if field.compare)
        return kind, tuple(_exact(getattr(value, name)) for name in compared)
    return kind, value
