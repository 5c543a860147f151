"""A check around any training step that finds the first infinity or NaN."""

import torch
from torch import Tensor

from fnet import tree
from fnet.data import Batch
from fnet.metrics import Metrics
from fnet.nn import Params
from fnet.step import Step
from fnet.tree import Tree


class NonFiniteError(FloatingPointError):
    """A step produced an infinity or NaN. The message names the leaf and counts the values."""


def check_finite(step: Step) -> Step:
    """Return the step that raises an error as soon as a number is not finite.

    The returned step checks the params, the optimizer's state and the metrics after each step. It
    ignores a number that was not finite before the step: the best metric of a `plateau` starts at
    infinity.

    For debugging: it waits for the device once per step. Wrap the compiled step
    (`check_finite(compile(step))`), not the other way round: the check branches on values, which a
    graph cannot do.

    Raises:
        NonFiniteError: by the step; the message names the first leaf with such numbers.

    >>> from fnet.nn import Params
    >>> def step(params, opt_state, batch):
    ...     return params._replace(trainable={"w": params.trainable["w"] / batch}), opt_state, {}
    >>> params = Params({"w": torch.tensor([1.0, -3.0])}, {})
    >>> check_finite(step)(params, {}, torch.zeros(()))
    Traceback (most recent call last):
    fnet.debug.NonFiniteError: params/trainable/w has 2 inf in 2 values
    """

    def checked(params: Params, opt_state: Tree, batch: Batch) -> tuple[Params, Tree, Metrics]:
        result = step(params, opt_state, batch)
        new_params, new_state, metrics = result
        zeros = tree.map(torch.zeros_like, metrics)
        _require_finite(
            before={"params": params, "opt_state": opt_state, "metrics": zeros},
            after={"params": new_params, "opt_state": new_state, "metrics": metrics},
        )
        return result

    return checked


def _require_finite(before: Tree, after: Tree) -> None:
    counts: dict[str, Tensor] = {}

    def count(path: str, new: Tensor, old: Tensor) -> None:
        was_finite = old.isfinite()
        nans, infinities = new.isnan() & was_finite, new.isinf() & was_finite
        counts[path] = torch.stack([nans.sum(), infinities.sum()])

    tree.map_with_path(count, after, before)
    if not counts:
        return
    found = dict(zip(counts, torch.stack(list(counts.values())).tolist(), strict=True))
    bad = {path: kinds for path, kinds in found.items() if any(kinds)}
    if bad:
        raise NonFiniteError(_describe(bad, dict(tree.flatten_with_path(after))))


def _describe(bad: dict[str, list[int]], leaves: dict[str, Tensor]) -> str:
    path, (nans, infinities) = next(iter(bad.items()))
    found = [f"{nans} NaN"] if nans else []
    found += [f"{infinities} inf"] if infinities else []
    text = f"{path} has {' and '.join(found)} in {leaves[path].numel()} values"
    updates = _updates(leaves)
    if updates is not None:
        text += f" after update {updates}"
    if len(bad) > 1:
        text += f", the first of {len(bad)} such leaves"
    return text


def _updates(leaves: dict[str, Tensor]) -> int | None:
    """Return how many updates the optimizer has counted, or None if it does not count them."""
    for path, leaf in leaves.items():
        if path.startswith("opt_state/") and path.endswith("/count") and not leaf.ndim:
            return int(leaf)
    return None
