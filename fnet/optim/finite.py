"""A wrapper of an optimizer that skips updates with gradients that are not finite."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, State
from fnet.tree import Tree


class ApplyIfFiniteState(NamedTuple):
    """The state of `apply_if_finite`.

    skipped: the number of updates skipped so far, int64 0-d.
    consecutive: how many of the last gradients in a row were not finite, int64 0-d.
    inner: the state of the inner transformation.
    """

    skipped: Tensor
    consecutive: Tensor
    inner: State


def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int | None = None
) -> GradientTransformation:
    """Return `inner`, skipped at each step at which a gradient is infinite or NaN.

    At such a step the updates are zeros, and the inner state, including its step count, stays
    unchanged. The state counts the skipped updates. As `optax.apply_if_finite`. It only checks
    gradients: it does not notice batch-norm statistics that are not finite.

    Args:
        inner: a complete optimizer, or the part of it that must not get such gradients.
        max_consecutive_errors: after more bad gradients in a row than this, updates are applied
            even if they are not finite, so that a diverged run becomes visible; None: no limit.

    >>> from fnet import optim
    >>> tx = apply_if_finite(optim.sgd(0.1))
    >>> params = {"w": torch.ones(2)}
    >>> updates, state = tx.update({"w": torch.tensor([1.0, torch.nan])}, tx.init(params), params)
    >>> updates["w"], state.skipped
    (tensor([0., 0.]), tensor(1))
    """

    def init(params: Tree) -> ApplyIfFiniteState:
        device = next((leaf.device for leaf in tree.leaves(params)), None)
        zero = torch.zeros((), dtype=torch.int64, device=device)
        return ApplyIfFiniteState(zero, zero.clone(), inner.init(params))

    def update(
        grads: Tree, state: ApplyIfFiniteState, params: Tree
    ) -> tuple[Tree, ApplyIfFiniteState]:
        finite = _all_finite(grads, state.skipped.device)
        consecutive = torch.where(finite, 0, state.consecutive + 1)
        apply = finite
        if max_consecutive_errors is not None:
            apply = finite | (consecutive > max_consecutive_errors)

        updates, after = inner.update(grads, state.inner, params)
        updates = tree.map(lambda u: torch.where(apply, u, torch.zeros_like(u)), updates)
        kept = tree.map(lambda new, old: torch.where(apply, new, old), after, state.inner)
        return updates, ApplyIfFiniteState(state.skipped + ~apply, consecutive, kept)

    return GradientTransformation(init, update)


def _all_finite(grads: Tree, device: torch.device) -> Tensor:
    """Return whether every element of every leaf is finite: bool, 0-d."""
    finite = torch.ones((), dtype=torch.bool, device=device)
    for leaf in tree.leaves(grads):
        finite = finite & leaf.isfinite().all()
    return finite
