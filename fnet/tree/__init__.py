"""Trees (pytrees) of tensors: nested dicts, lists, tuples and NamedTuples, as in JAX.

Anything else is a leaf, and None is a tree without leaves. A leaf is addressed by its path
("trainable/conv1.weight"), not by its index in the list of leaves: dicts keep insertion order.
"""

from fnet.tree.compare import (
    assert_close,
    assert_equal,
    equal,
    first_difference,
    first_layout_difference,
)
from fnet.tree.layout import laid_out_like
from fnet.tree.ravel import Vectors, ravel
from fnet.tree.walk import (
    Tree,
    builder,
    combine,
    flatten,
    flatten_with_path,
    leaves,
    map,
    map_with_path,
    partition,
    size,
    unflatten,
)

__all__ = [
    "Tree",
    "Vectors",
    "assert_close",
    "assert_equal",
    "builder",
    "combine",
    "equal",
    "first_difference",
    "first_layout_difference",
    "flatten",
    "flatten_with_path",
    "laid_out_like",
    "leaves",
    "map",
    "map_with_path",
    "partition",
    "ravel",
    "size",
    "unflatten",
]
