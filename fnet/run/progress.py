"""What a run has reached, in memory and on disk: where it is, its lines, weights and checkpoints.

Knows nothing of how a step is made, and shows nothing.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fnet import random
from fnet.loop import Record
from fnet.nn import Model, ModelError, Params
from fnet.optim import PlateauState
from fnet.run.checkpoint import Restored, weights_epoch
from fnet.run.directory import RunDirectory
from fnet.run.recipe import Experiment
from fnet.run.schema import Line, Note, best_line
from fnet.run.typed_json import from_json, to_json
from fnet.tree import Tree


def best_problem(file: Path, best: int | None, done: int, *, at_hand: bool) -> str | None:
    """Return a sentence on why a file is not the weights of the best epoch, None where it is.

    It is not after a fallback to an older checkpoint, which may be of before the best epoch's end,
    or where it was lost.

    Args:
        file: the run's `best.safetensors`.
        best: the best of the epochs done, None before the first ends: there is no file yet.
        done: how many epochs are done.
        at_hand: whether the run has the weights of the best epoch, and so writes the file again.
    """
    try:
        epoch = weights_epoch(file)
        what = f"is of epoch {epoch}" if epoch else "does not say which epoch it is of"
    except ModelError:
        epoch, what = None, "is damaged" if file.exists() else "is missing"
    if epoch == best:
        return None
    if at_hand:
        return f"{file.name} {what}: it is written again, with the weights of epoch {best}."
    if epoch is not None and epoch > done:
        return (
            f"{file.name} {what}: the run goes on from before that epoch's end, and writes it "
            "again when it gets there."
        )
    return (
        f"{file.name} {what}, and the weights of epoch {best}, the best so far, cannot be had "
        "again: it is written when a better epoch comes."
    )


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


class Progress:
    """What a run has reached, kept in its directory so that it can go on from there.

    Args:
        directory: the run's.
        model: what is trained.
        eval_params: from a record to the params that are kept as best and saved.
        steps_per_epoch: how many steps an epoch has.

    Attributes:
        record: where the run is, None before the first step.
        lines: the figures of each whole epoch.
    """

    def __init__(
        self,
        directory: RunDirectory,
        model: Model,
        eval_params: Callable[[Record], Params],
        steps_per_epoch: int,
    ) -> None:
        self._directory, self._model, self._eval_params = directory, model, eval_params
        self._steps_per_epoch = steps_per_epoch
        self._saved_at = time.monotonic()
        self.record: Record | None = None
        self.lines: list[Line] = []

    @property
    def best(self) -> Line | None:
        """The line of the best epoch, None before the first ends."""
        return best_line(self.lines)

    def restore(self, restored: Restored) -> tuple[Record, float]:
        """Take up what a checkpoint holds.

        Returns where the run is, and for how many seconds its epoch has gone on.
        """
        state, note = restored.state, from_json(Note, restored.note)
        sums = {
            name: torch.tensor(value, dtype=torch.float64, device=state.key.device)
            for name, value in note.sums.items()
        }
        self.lines = list(note.lines)
        # With sums the epoch is not written down yet, even where its last step is done.
        epoch = len(self.lines)
        self.record = Record(restored.step, epoch, False, state.params, state.opt_state, sums)
        return self.record, note.seconds

    def mend_best(self, record: Record) -> str | None:
        """Write the best weights again where those on disk are others, if they can be had.

        Returns a sentence on what is wrong with those on disk, or None.
        """
        best = self.best.epoch if self.best else None
        # With sums, steps of the next epoch have changed the weights since.
        at_hand = best == record.epoch and not record.metrics
        file = self._directory.path / "best.safetensors"
        problem = best_problem(file, best, record.epoch, at_hand=at_hand)
        if problem and at_hand:
            self.write_weights("best", record)
        return problem

    def add(self, line: Line, record: Record) -> None:
        """Write down an epoch, and its weights where it is the best so far.

        Args:
            line: its figures.
            record: its last.
        """
        self._directory.append_metrics(line)
        self.lines.append(line)
        if self.best is line:
            self.write_weights("best", record)

    def save(self, state: State, record: Record, seconds: float) -> None:
        """Write a checkpoint.

        Args:
            state: what the run goes on from.
            record: where it is.
            seconds: for how long its epoch has gone on.
        """
        sums = {name: value.item() for name, value in record.metrics.items()}
        best = self.best.epoch if self.best else None
        note = to_json(Note(sums, tuple(self.lines), best, seconds))
        self._directory.checkpoints.save(record.step, state, note)
        self._saved_at = time.monotonic()

    def minutes_since_save(self) -> float:
        """Return the age of the last checkpoint."""
        return (time.monotonic() - self._saved_at) / 60

    def write_weights(self, name: str, record: Record) -> None:
        """Write `name.safetensors`, the weights of a record."""
        epoch = -(-record.step // self._steps_per_epoch)  # the one that goes on counts
        self._directory.write_weights(name, self._model, self._eval_params(record), epoch)
