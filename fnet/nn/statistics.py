"""Batch norm's statistics, recomputed for given weights, such as an average of weights."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from fnet.nn.dropout import is_dropout_rate
from fnet.nn.model import Params

_NAMES = ("running_mean", "running_var")

_Batch = TypeVar("_Batch")


def has_statistics(params: Params) -> bool:
    """Return whether a network has statistics that `fresh_statistics` recomputes."""
    return any(map(_is_statistic, params.stats))


def fresh_statistics(
    forward: Callable[[Params, _Batch], dict[str, Tensor]],
    params: Params,
    batches: Iterable[_Batch],
) -> Params:
    """Return the params with batch norm's statistics of these batches only.

    An average of weights never saw data: its statistics are those of the weights that were trained
    (Izmailov et al., "Averaging weights leads to wider optima", 2018). And dropout before batch
    norm makes the variance in training another than in evaluation, so it is off here (Li et al.,
    arXiv 1801.05134).

    As in training the statistics are an exponential average with the layer's momentum, later
    batches counting more, but one that begins at nothing and is divided by the sum of its weights.
    The momentum is measured, by running the first batch twice more.

    Args:
        forward: `(params, batch) -> stats`, a forward pass in training mode, such as `make_stats`.
        params: the weights. Without batch norm they come back as they are.
        batches: training batches.

    Raises:
        ValueError: there is no batch.
    """
    if not has_statistics(params):
        return params
    undropped = {
        name: torch.zeros_like(leaf) if is_dropout_rate(name) else leaf
        for name, leaf in params.stats.items()
    }

    def filled(value: float) -> dict[str, Tensor]:
        return {
            name: torch.full_like(leaf, value) if _is_statistic(name) else leaf
            for name, leaf in undropped.items()
        }

    stats = filled(0.0)
    kept: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}
    for batch in batches:
        if not kept:
            ones, zeros = (forward(params._replace(stats=filled(v)), batch) for v in (1.0, 0.0))
            kept = {name: ones[name] - zeros[name] for name in ones if _is_statistic(name)}
            left = {name: torch.ones_like(leaf) for name, leaf in kept.items()}
        stats = undropped | {
            name: leaf
            for name, leaf in forward(params._replace(stats=stats), batch).items()
            if _is_statistic(name)
        }
        left = {name: leaf * kept[name] for name, leaf in left.items()}
    if not kept:
        raise ValueError("statistics are taken of at least one batch")
    # A layer that does not update its statistics keeps its old ones.
    fresh = {
        name: torch.where(share < 1, stats[name] / (1 - share), params.stats[name])
        for name, share in left.items()
    }
    return params._replace(stats=params.stats | fresh)


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in _NAMES
