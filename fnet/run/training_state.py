"""What a run goes on from, besides its config: what it begins with, and a checkpoint holds."""

from typing import Any, NamedTuple

from torch import Tensor

from fnet import random
from fnet.loop import Record
from fnet.nn import Params
from fnet.optim import PlateauState
from fnet.run.recipe import Experiment
from fnet.tree import Tree


class State(NamedTuple):
    """The tensors that a run goes on from."""

    params: Params
    opt_state: Tree
    key: Tensor
    plateau: PlateauState | None

    def after(self, record: Record) -> "State":
        """Return the state once the steps up to this record are done."""
        return self._replace(params=record.params, opt_state=record.opt_state)


def initial_state(experiment: Experiment, seed: int, device: str) -> State:
    """Return the state before the first step: that of every run of the seed."""
    init_key, data_key = random.split(random.key(seed, device))
    params = experiment.model.init(init_key)
    plateau = experiment.plateau.init() if experiment.plateau else None
    return State(params, experiment.tx.init(params.trainable), data_key, plateau)


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
