"""Basic functions on trees: map, leaves, paths, partition.

Only this module and `fnet.tree.arguments` use PyTorch's pytrees, which treat None as a leaf and
accept a prefix of a tree.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fnet.private import pytree

Tree: TypeAlias = Any


def map(fn: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Return the tree of `fn(leaf, *others)`, where `others` are the leaves of `rest` at that path.

    All trees must have the same structure (dict keys in any order); otherwise a ValueError names
    the first path that differs. None stays None. As `jax.tree.map`, except that no tree may be a
    prefix of another.

    >>> map(lambda x, y: x + y, {"a": 1, "b": None}, {"b": None, "a": 2})
    {'a': 3, 'b': None}
    """

    def apply(leaf: Any, *others: Any) -> Any:
        _require_leaves(leaf, others)
        return None if leaf is None else fn(leaf, *others)

    return _traverse(pytree.tree_map, apply, (tree, *rest))


def map_with_path(fn: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Return the tree of `fn(path, leaf, *others)`: `map` for functions that need the path.

    A path joins dict keys, field names and indices with "/".

    >>> map_with_path(lambda path, x: f"{path}={x}", {"mu": (1, 2)})
    {'mu': ('mu/0=1', 'mu/1=2')}
    """

    def apply(keys: Sequence[Any], leaf: Any, *others: Any) -> Any:
        _require_leaves(leaf, others)
        return None if leaf is None else fn(_path(keys), leaf, *others)

    return _traverse(pytree.tree_map_with_path, apply, (tree, *rest))


def flatten_with_path(tree: Tree) -> list[tuple[str, Any]]:
    """Return the leaves with their paths, in order.

    >>> flatten_with_path({"conv1.weight": 1, "mu": [2, None, 3]})
    [('conv1.weight', 1), ('mu/0', 2), ('mu/2', 3)]
    """
    found: list[tuple[str, Any]] = []
    map_with_path(lambda path, leaf: found.append((path, leaf)), tree)
    return found


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves, in order.

    >>> leaves({"a": 1, "b": [2, None, 3]})
    [1, 2, 3]
    """
    return flatten(tree)[0]


def flatten(tree: Tree) -> tuple[list[Any], Tree]:
    """Return the leaves and the structure: the same tree with each leaf replaced by its index.

    >>> flatten({"a": "x", "b": ("y", None)})
    (['x', 'y'], {'a': 0, 'b': (1, None)})
    """
    found: list[Any] = []

    def place(leaf: Any) -> int:
        found.append(leaf)
        return len(found) - 1

    return found, map(place, tree)


def unflatten(structure: Tree, values: Sequence[Any]) -> Tree:
    """Return the tree of a structure and its leaves: the inverse of `flatten`.

    >>> unflatten({"a": 0, "b": (1, None)}, ["x", "y"])
    {'a': 'x', 'b': ('y', None)}
    """
    if len(values) != len(leaves(structure)):
        raise ValueError(f"the structure has {len(leaves(structure))} leaves, got {len(values)}")
    return builder(structure)(values)


def builder(structure: Tree) -> Callable[[Sequence[Any]], Tree]:
    """Return a fast `unflatten` for one structure, for a function that is called often.

    >>> build = builder({"a": 0, "b": (1, None)})
    >>> build(["x", "y"])
    {'a': 'x', 'b': ('y', None)}
    """
    if structure is None:
        return lambda values: None
    if isinstance(structure, int):
        return operator.itemgetter(structure)
    if type(structure) is dict:
        items = [(name, builder(part)) for name, part in structure.items()]
        return lambda values: {name: build(values) for name, build in items}
    if isinstance(structure, list | tuple):
        parts = [builder(part) for part in structure]
        make = getattr(structure, "_make", type(structure))
        return lambda values: make([build(values) for build in parts])
    return lambda values: map(lambda place: values[place], structure)


def partition(tree: Tree, predicate: Callable[[str, Any], bool]) -> tuple[Tree, Tree]:
    """Return two trees: the leaves for which `predicate(path, leaf)` is true, and the others.

    Each has None where the other one has a leaf; `combine` joins them. As `equinox.partition`.

    >>> partition({"fc.weight": 1, "fc.bias": 2}, lambda path, _: path.endswith("weight"))
    ({'fc.weight': 1, 'fc.bias': None}, {'fc.weight': None, 'fc.bias': 2})
    """
    chosen = map_with_path(lambda path, leaf: bool(predicate(path, leaf)), tree)
    selected = map(lambda leaf, choose: leaf if choose else None, tree, chosen)
    rest = map(lambda leaf, choose: None if choose else leaf, tree, chosen)
    return selected, rest


def combine(*trees: Tree) -> Tree:
    """Return the tree with the first leaf that is not None at each path: undoes `partition`.

    As `equinox.combine`. If the structures differ, a ValueError names the first such path.

    >>> combine({"a": 1, "b": None}, {"a": None, "b": 2})
    {'a': 1, 'b': 2}
    """

    def first(*entries: Any) -> Any:
        present = [entry for entry in entries if entry is not None]
        return present[0] if present else None

    return _traverse(pytree.tree_map, first, trees)


def size(tree: Tree) -> int:
    """Return the number of elements of all leaves together.

    >>> import torch
    >>> size({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)})
    15
    """
    return sum(leaf.numel() for leaf in leaves(tree))


def _path(keys: Sequence[Any]) -> str:
    return "/".join([_name(key) for key in keys])


def _name(key: Any) -> str:
    if isinstance(key, pytree.MappingKey):
        return str(key.key)
    if isinstance(key, pytree.SequenceKey):
        return str(key.idx)
    return key.name


def _traverse(tree_map: Callable[..., Tree], fn: Callable[..., Any], trees: Sequence[Tree]) -> Tree:
    try:
        return tree_map(fn, *trees)
    except ValueError as error:
        for other in trees[1:]:
            difference = _structure_difference("", trees[0], other)
            if difference is not None:
                raise ValueError(difference) from error
        raise


def _require_leaves(leaf: Any, others: Sequence[Any]) -> None:
    """Refuse a subtree where the first tree has a leaf: PyTorch would accept it as a prefix."""
    for other in others:
        if (other is None) != (leaf is None) or isinstance(other, (dict, list, tuple)):
            raise ValueError("one tree has a leaf where another has a subtree")


def _structure_difference(path: str, a: Tree, b: Tree) -> str | None:
    where = f"at {path!r}" if path else "at the root"
    children_a, children_b = _children(a), _children(b)
    if children_a is None and children_b is None:
        return None
    if children_a is None or children_b is None or type(a) is not type(b):
        return f"the trees differ {where}: {_kind(a)} against {_kind(b)}"
    for name in children_a | children_b:
        child = f"{path}/{name}" if path else name
        if name not in children_a:
            return f"the trees differ: {child!r} is missing from the first"
        if name not in children_b:
            return f"the trees differ: {child!r} is missing from the second"
        difference = _structure_difference(child, children_a[name], children_b[name])
        if difference is not None:
            return difference
    return None


def _children(tree: Tree) -> dict[str, Tree] | None:
    """Return the subtrees one level down by name, or None for a leaf."""
    if tree is None:
        return {}
    if pytree.tree_is_leaf(tree):
        return None
    entries, _ = pytree.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    return {_path(keys): child for keys, child in entries}


def _kind(tree: Tree) -> str:
    if tree is None:
        return "None"
    return "a leaf" if pytree.tree_is_leaf(tree) else type(tree).__name__
