"""All that a run goes on from, besides its config: what a checkpoint holds."""

import math
from typing import Any, NamedTuple

from torch import Tensor

from fnet import tree
from fnet.loop import Record
from fnet.nn import Params
from fnet.optim import PlateauState
from fnet.tree import Tree


class State(NamedTuple):
    """The tensors that a run goes on from."""

    params: Params
    opt_state: Tree
    key: Tensor
    plateau: PlateauState | None


class Note(NamedTuple):
    """The rest of it.

    Attributes:
        sums: of the metrics in an epoch that has no line yet.
        lines: of the whole epochs.
        best: which of these is the best, None before the first ends.
        seconds: for how long the epoch has gone on.
    """

    sums: dict[str, float]
    lines: list[dict[str, Any]]
    best: int | None
    seconds: float


def has_finite_loss(record: Record) -> bool:
    """Say whether the mean loss so far is finite. Waits for the device."""
    return math.isfinite(record.metrics["loss"].item())


def has_finite_params(record: Record) -> bool:
    """Say whether all parameters and statistics are finite. Waits for the device."""
    return all(bool(leaf.isfinite().all()) for leaf in tree.leaves(record.params))
