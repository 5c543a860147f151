"""The arguments of a function, separated into tensors and everything else."""

from collections.abc import Callable, Hashable, Sequence

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
    _gather(tree, tensors, rest)
    return tensors, tuple(rest)


def _gather(node: Tree, tensors: list[Tensor], rest: list[Hashable]) -> None:
    kind = type(node)
    if isinstance(node, Tensor):
        tensors.append(node)
        rest.append((node.shape, node.stride(), node.dtype, node.device, node.requires_grad))
    elif kind is dict:
        rest.append((kind, tuple(node)))
        for child in node.values():
            _gather(child, tensors, rest)
    elif kind is tuple or kind is list or hasattr(kind, "_fields"):
        rest.append((kind, len(node)))
        for child in node:
            _gather(child, tensors, rest)
    elif kind is float or kind is complex:
        rest.append((kind, repr(node)))  # 0.0 == -0.0, and NaN is not equal to itself
    elif pytree.tree_is_leaf(node):
        rest.append((kind, node))
    else:
        children, spec = pytree.tree_flatten(node, is_leaf=lambda child: child is not node)
        rest.append(spec)
        for child in children:
            _gather(child, tensors, rest)
