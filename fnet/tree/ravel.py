"""Conversion of a tree into one flat vector per dtype, and back.

One elementwise operation on a vector compiles and runs far faster than hundreds of operations on
leaves, and a compiled function checks a few vectors at each call instead of hundreds of leaves.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fnet.tree.walk import Tree, flatten, flatten_with_path, leaves, map

Vectors: TypeAlias = dict[str, Tensor]

# A leaf in a vector: its index in the tree, its shape in memory order, and the permutation from
# memory order to the dimensions of the leaf (None for the identity).
View: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...] | None]
Layout: TypeAlias = tuple[tuple[str, tuple[View, ...]], ...]


def ravel(
    tree: Tree, like: Tree = None, *, concatenate: Callable[[list[Tensor]], Tensor] = torch.cat
) -> tuple[Vectors, Callable[[Vectors], Tree]]:
    """Return the elements as one vector per dtype, and the function that restores the tree.

    The vectors are copies, named by dtype: {"float32": [n], ...}. `unravel(vectors)` returns views
    of them with the structure, shapes and strides of `tree`: elements are in memory order, so a
    channels-last weight comes back channels-last. A leaf that is not dense (a slice with gaps, an
    expanded tensor) comes back contiguous.

    The vectors of two trees correspond only if both have the same layout. `ravel(grads,
    like=params)` takes the order of dict keys, the memory order and the structure that `unravel`
    returns from `params`; shapes and dtypes must match. `concatenate` joins the raveled leaves,
    each `[n]`. As `jax.flatten_util.ravel_pytree`, but with one vector per dtype.

    >>> vectors, unravel = ravel({"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    >>> vectors
    {'float32': tensor([1., 1., 1., 1., 0., 0.])}
    >>> unravel({"float32": torch.arange(6.0)})["bias"]
    tensor([4., 5.])
    """
    if like is None:
        like = tree
    else:
        tree = map(lambda _, leaf: leaf, like, tree)
    templates, structure = flatten(like)
    values = leaves(tree)
    _require_ravelable(like, templates, values)
    places: dict[str, list[int]] = {}
    for place, leaf in enumerate(templates):
        places.setdefault(_dtype(leaf), []).append(place)
    orders = [memory_order(leaf) for leaf in templates]
    vectors = {
        dtype: concatenate([values[i].permute(orders[i]).reshape(-1) for i in group])
        for dtype, group in places.items()
    }
    layout = tuple(
        [
            (dtype, tuple([_view(i, templates[i].shape, orders[i]) for i in group]))
            for dtype, group in places.items()
        ]
    )
    return vectors, lambda vectors: _unravel(vectors, structure, layout)


def _unravel(vectors: Vectors, structure: Tree, layout: Layout) -> Tree:
    expected = [dtype for dtype, _ in layout]
    if set(vectors) != set(expected):
        raise ValueError(f"expected the vectors {expected}, got {list(vectors)}")
    pieces: dict[int, Tensor] = {}
    for dtype, views in layout:
        lengths = [math.prod(shape) for _, shape, _ in views]
        if vectors[dtype].shape != (sum(lengths),):
            raise ValueError(
                f"the {dtype} vector must have shape ({sum(lengths)},), "
                f"got {tuple(vectors[dtype].shape)}"
            )
        split = vectors[dtype].split(lengths)
        for (place, shape, dims), piece in zip(views, split, strict=True):
            leaf = piece if len(shape) == 1 else piece.reshape(shape)
            pieces[place] = leaf if dims is None else leaf.permute(dims)
    return map(lambda place: pieces[place], structure)


def _view(place: int, shape: torch.Size, order: tuple[int, ...]) -> View:
    in_memory = tuple([shape[dim] for dim in order])
    back = tuple([order.index(dim) for dim in range(len(order))])
    return place, in_memory, None if back == tuple(range(len(order))) else back


def memory_order(leaf: Tensor) -> tuple[int, ...]:
    """Return the dimensions from outermost to innermost; in index order if memory has gaps."""
    strides = leaf.stride()
    # For equal strides, the dimension of size 1 is the inner one; so its stride is restored too.
    order = sorted(range(leaf.ndim), key=lambda dim: (-strides[dim], -leaf.shape[dim]))
    expected = 1
    for dim in reversed(order):
        if leaf.shape[dim] != 1 and strides[dim] != expected:
            return tuple(range(leaf.ndim))
        expected *= leaf.shape[dim]
    return tuple(order)


def _dtype(leaf: Tensor) -> str:
    return str(leaf.dtype).removeprefix("torch.")


def _require_ravelable(like: Tree, templates: list[Any], values: list[Any]) -> None:
    device = templates[0].device if templates and isinstance(templates[0], Tensor) else None
    for place, (template, value) in enumerate(zip(templates, values, strict=True)):
        if not isinstance(template, Tensor) or not isinstance(value, Tensor):
            raise TypeError(f"{_path(like, place)!r} is not a tensor")
        if value.device != device or template.device != device:
            raise ValueError(
                f"{_path(like, place)!r} is on {value.device}, but {_path(like, 0)!r} is on "
                f"{device}: move the tree to one device before raveling it"
            )
        if value.shape != template.shape or value.dtype != template.dtype:
            raise ValueError(
                f"{_path(like, place)!r} must be {template.dtype} of shape {tuple(template.shape)} "
                f"as in `like`, got {value.dtype} of shape {tuple(value.shape)}"
            )


def _path(tree: Tree, place: int) -> str:
    return flatten_with_path(tree)[place][0]
