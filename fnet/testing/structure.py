"""The laws of a step's results: they keep the structure, and depend on the batch's key."""

from typing import Any

from torch import Tensor

from fnet import random, tree
from fnet.data import Batch
from fnet.nn import Params
from fnet.step import Step
from fnet.tree import Tree

_KEYS = 3  # the number of other keys tried: two keys may give the same mask by chance


def assert_keeps_structure(step: Step, params: Params, opt_state: Tree, batch: Batch) -> None:
    """Raise an AssertionError unless params and state are returned with their structure and layout.

    The structure, and the shape, dtype, device and strides of each leaf must stay the same. No leaf
    may be attached to the autograd graph, which would hold the memory of every step.

    >>> import torch
    >>> def step(params, opt_state, batch):
    ...     return {"w": params["w"].double()}, opt_state, {}
    >>> assert_keeps_structure(step, {"w": torch.ones(2)}, {}, batch=None)
    Traceback (most recent call last):
    AssertionError: the step changes the layout: 'params/w': dtype torch.float64 against \
torch.float32 (returned against given)
    """
    before = {"params": params, "opt_state": opt_state}
    new_params, new_state, _ = returned(step, params, opt_state, batch)
    after = {"params": new_params, "opt_state": new_state}
    difference = tree.first_layout_difference(after, before)
    if difference is not None:
        raise AssertionError(f"the step changes the layout: {difference} (returned against given)")
    given = dict(tree.flatten_with_path(before))
    for path, leaf in tree.flatten_with_path(after):
        if isinstance(leaf, Tensor) and leaf.requires_grad and not given[path].requires_grad:
            raise AssertionError(
                f"the step returns {path!r} attached to autograd's graph, which holds the memory "
                "of every step: take gradients with torch.func.grad, or detach the leaf"
            )


def assert_depends_on_key(step: Step, params: Params, opt_state: Tree, batch: Batch) -> None:
    """Raise an AssertionError unless another key of the batch gives other params or metrics.

    For steps that draw random numbers (dropout, augmentation). The error is also raised if the
    batch has no leaf "key".
    """
    first, _, sums = returned(step, params, opt_state, batch)
    for n in range(_KEYS):
        moved, _, other = returned(step, params, opt_state, with_key(batch, n))
        if not tree.equal((moved, other), (first, sums)):
            return
    raise AssertionError(
        f"the step ignores 'batch/key': params and metrics are the same for {_KEYS} other keys"
    )


def with_key(batch: Any, n: int) -> Any:
    """Return the batch with the n-th other key, derived from its own."""
    if isinstance(batch, dict) and "key" in batch:
        return {**batch, "key": random.fold_in(batch["key"], n)}
    if hasattr(batch, "_replace") and hasattr(batch, "key"):
        return batch._replace(key=random.fold_in(batch.key, n))
    raise AssertionError(
        "the batch has no leaf 'batch/key': a step that draws takes its key from there"
    )


def returned(step: Step, params: Params, opt_state: Tree, batch: Batch) -> tuple[Any, Tree, Tree]:
    """Return the step's results, which must be a tuple `(params, opt_state, metrics)`."""
    result = step(params, opt_state, batch)
    if not isinstance(result, tuple) or len(result) != 3:
        entries = f" of {len(result)} entries" if isinstance(result, tuple | list) else ""
        raise AssertionError(
            "a step returns a tuple (params, opt_state, metrics); this one returns a "
            f"{type(result).__name__}{entries}"
        )
    return result


def labelled(result: tuple[Any, Tree, Tree]) -> dict[str, Tree]:
    """Return a step's results as a dict, so that paths begin with these names."""
    return dict(zip(("params", "opt_state", "metrics"), result, strict=True))
