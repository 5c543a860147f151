"""A wrapper that applies a transformation to one vector per dtype: faster for many leaves."""

import functools
from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.opaque import operation
from fnet.optim.base import GradientTransformation, State
from fnet.tree import Tree


def flatten(inner: GradientTransformation, *, min_leaves: int = 1) -> GradientTransformation:
    """Return `inner` applied to all leaves at once, as one vector per dtype.

    As `optax.flatten`. The results are those of `inner`, up to rounding, if `inner` is elementwise
    (sgd, adam) or uses norms of the whole tree (`clip_by_global_norm`). A transformation that
    depends on shapes or paths (`muon`, `partition`) cannot be flattened; put `flatten` inside a
    `partition`. The leaves in the vectors are sorted by path, so the order of dicts has no effect.

    A tree of fewer than `min_leaves` leaves is not flattened: a compiler then fuses the update of
    each leaf with the computation of its gradient, and no copy is made.

    >>> from fnet import optim
    >>> params = {"b": torch.zeros(2), "a": torch.zeros(2, 3)}
    >>> flatten(optim.sgd(0.1, momentum=0.9)).init(params)[1].trace
    {'float32': tensor([0., 0., 0., 0., 0., 0., 0., 0.])}
    >>> sorted(flatten(optim.sgd(0.1, momentum=0.9), min_leaves=3).init(params)[1].trace)
    ['a', 'b']
    """

    def init(params: Tree) -> State:
        if len(tree.leaves(params)) < min_leaves:
            return inner.init(params)
        return inner.init(_ravel(_sorted(params))[0])

    def update(grads: Tree, state: State, params: Tree) -> tuple[Tree, State]:
        if len(tree.leaves(params)) < min_leaves:
            return inner.update(grads, state, params)
        flat_params = _sorted(params)
        vectors, unravel = _ravel(flat_params)
        flat_grads, _ = _ravel(_sorted(grads), like=flat_params)
        updates, state = inner.update(flat_grads, state, vectors)
        # The opaque copy materializes the updates: a compiler would recompute them for each leaf.
        by_path = unravel(tree.map(lambda vector: _concatenate([vector]), updates))
        return tree.map_with_path(lambda path, _: by_path[path], params), state

    return GradientTransformation(init, update)


def _concatenate_many(info: Any, in_dims: Any, pieces: list[Tensor]) -> tuple[Tensor, int]:
    rows = [
        piece.expand(info.batch_size, -1) if dim is None else piece.movedim(dim, 0)
        for piece, dim in zip(pieces, in_dims[0], strict=True)
    ]
    return torch.cat(rows, dim=1), 0


# Opaque: a compiler would generate a loop for each of the pieces.
_concatenate = operation(
    "concatenate",
    "(Tensor[] pieces) -> Tensor",
    kernel=torch.cat,
    fake=lambda pieces: pieces[0].new_empty(sum([len(piece) for piece in pieces])),
    vmap=_concatenate_many,
)


def _sorted(leaves: Tree) -> dict[str, Tensor]:
    return dict(sorted(tree.flatten_with_path(leaves)))


_ravel = functools.partial(tree.ravel, concatenate=_concatenate)
