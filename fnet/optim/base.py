"""The gradient transformation, a pair of pure functions as in optax, and `chain` to compose it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from fnet import tree
from fnet.tree import Tree

State: TypeAlias = Any


class GradientTransformation(NamedTuple):
    """A pair of pure functions that turn gradients into updates.

    `init(params) -> state` makes the first state. `update(grads, state, params) -> (updates,
    state)` makes the updates, which `apply_updates` adds to the params: a complete optimizer's
    updates point downhill. A transformation's "grads" may be the updates of the one before it
    (`chain`).

    The contract, for params of any tree of float tensors: no argument is changed; the global
    random state is neither read nor written; the same arguments give the same results; updates
    and state keep the structure, shapes, dtypes, devices and strides of what came in; everything
    a transformation remembers, step count and hyper-parameters included, is a tensor in its
    state. So `update` can be compiled once, and mapped by `torch.func.vmap`. A transformation
    acts on each element alone (and then also on a ravelled tree) unless its docstring says that
    it looks at shapes or paths.

    >>> params = {"w": torch.tensor([1.0, -2.0])}
    >>> negate = GradientTransformation(
    ...     init=lambda params: EmptyState(),
    ...     update=lambda grads, state, params: (tree.map(torch.neg, grads), state),
    ... )
    >>> updates, state = negate.update({"w": torch.tensor([0.5, 0.5])}, negate.init(params), params)
    >>> apply_updates(params, updates)
    {'w': tensor([ 0.5000, -2.5000])}
    """

    init: Callable[[Tree], State]
    update: Callable[[Tree, State, Tree], tuple[Tree, State]]


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def stateless(fn: Callable[[Tree, Tree], Tree]) -> GradientTransformation:
    """Return the transformation whose updates are `fn(grads, params)`."""
    return GradientTransformation(
        init=lambda params: EmptyState(),
        update=lambda grads, state, params: (fn(grads, params), state),
    )


def identity() -> GradientTransformation:
    """Return the transformation that passes the gradients through unchanged."""
    return stateless(lambda grads, params: grads)


def set_to_zero() -> GradientTransformation:
    """Return the transformation whose updates are zero: the params stay unchanged."""
    return stateless(lambda grads, params: tree.map(torch.zeros_like, grads))


def chain(*transforms: GradientTransformation) -> GradientTransformation:
    """Return the transformation that applies `transforms` in order, each to the updates before it.

    Its state is the tuple of their states. As `optax.chain`.

    Raises:
        ValueError: by `update`, if the state was made by a chain of another length.
    """

    def init(params: Tree) -> State:
        return tuple(transform.init(params) for transform in transforms)

    def update(grads: Tree, state: State, params: Tree) -> tuple[Tree, State]:
        if len(state) != len(transforms):
            raise ValueError(
                f"this chain has {len(transforms)} transformations, but its state has {len(state)} "
                "entries: pass the state that this chain's init or update returned"
            )
        states = []
        for transform, inner in zip(transforms, state, strict=True):
            grads, inner = transform.update(grads, inner, params)
            states.append(inner)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Return `params + updates`, in the params' dtypes and strides. As `optax.apply_updates`."""

    def apply(param: Tensor, update: Tensor) -> Tensor:
        return tree.laid_out_like((param + update).to(param.dtype), param)

    return tree.map(apply, params, updates)
