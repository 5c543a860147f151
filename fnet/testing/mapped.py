"""The laws that a step can be mapped over models, and a gradient accumulated in micro-batches."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.data import Batch
from fnet.nn import Params
from fnet.step import GradFn, Step, accumulate
from fnet.testing.rounding import ATOL, RTOL, Rounding
from fnet.testing.structure import labelled
from fnet.tree import Tree


def assert_vmap_agrees(
    step: Step,
    states: Sequence[tuple[Params, Tree]],
    batch: Batch | Sequence[Batch],
    *,
    transform: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    rounding: bool = True,
) -> None:
    """Raise an AssertionError unless `vmap(step)` gives the results of `step` for each state.

    Args:
        step: a step that is not compiled.
        states: pairs `(params, opt_state)` of the same structure.
        batch: one batch for all states, or a list with one batch per state.
        transform: applied to `vmap(step)`, such as `compile`.
        rtol: relative tolerance, as in `tree.assert_close`.
        atol: absolute tolerance, as in `tree.assert_close`.
        rounding: increase the tolerance of each leaf by the effect of rounding on it, which is
            measured (`fnet.testing.rounding`).
    """
    shared = hasattr(batch, "_fields") or not isinstance(batch, list | tuple)
    batches: list[Any] = [batch] * len(states) if shared else [*batch]
    stacked_params, stacked_state = (
        tree.map(_stack, *parts) for parts in zip(*states, strict=True)
    )
    rows: Any = batch if shared else tree.map(_stack, *batches)
    mapped = torch.func.vmap(step, in_dims=(0, 0, None if shared else 0))
    mapped = mapped if transform is None else transform(mapped)
    try:
        together = mapped(stacked_params, stacked_state, rows)
    except (RuntimeError, ValueError, TypeError) as error:
        raise AssertionError(
            f"vmap(step) raises {type(error).__name__}, step does not: {error}"
        ) from error
    for place, ((params, state), own) in enumerate(zip(states, batches, strict=True)):
        single = labelled(step(params, state, own))
        one = labelled(tree.map(lambda leaf, i=place: leaf[i], together))
        trials = Rounding(lambda *args: labelled(step(*args)), rounding, single, params, state, own)
        difference = trials.first_difference(one, single, rtol, atol)
        if difference is not None:
            raise AssertionError(
                f"vmap(step) differs from step for state {place}: {difference} (mapped against "
                "single)"
            )


def assert_accumulates(
    grad_fn: GradFn,
    params: Params,
    batch: Batch,
    m: int,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    rounding: bool = True,
) -> None:
    """Raise an AssertionError unless `accumulate(grad_fn, m)` gives the gradient of one batch.

    The law holds if samples are independent: the loss is a mean weighted by `batch.weight`, metrics
    are sums, draws come from `fold_in(key, index)`, and there is no batch norm.

    Raises:
        ValueError: `m` does not divide the batch.
    """

    def whole(params: Params) -> Tree:
        return dict(zip(("grads", "stats", "metrics"), grad_fn(params, batch), strict=True))

    expected = whole(params)
    parts = accumulate(grad_fn, m)(params, batch)
    got = dict(zip(("grads", "stats", "metrics"), parts, strict=True))
    difference = Rounding(whole, rounding, expected, params).first_difference(
        got, expected, rtol, atol
    )
    if difference is not None:
        raise AssertionError(
            f"{m} micro-batches do not add up to the batch: {difference} (accumulated against "
            "whole)"
        )


def _stack(*leaves: Tensor) -> Tensor:
    return torch.stack(leaves)
