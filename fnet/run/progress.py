"""The progress of a run, in memory and on disk: its last record, metrics, weights and checkpoints.

Does not depend on how a step works, and displays nothing.
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


def best_problem(file: Path, best: int | None, done: int, *, in_memory: bool) -> str | None:
    """Return a message if a file does not contain the weights of the best epoch, else None.

    That happens if the run is resumed from an older checkpoint, before the end of the best epoch,
    or if the file was lost.

    Args:
        file: the run's `best.safetensors`.
        best: the best epoch, or None if no epoch is done: then there is no file.
        done: the number of epochs done.
        in_memory: whether the run has the weights of the best epoch, so that it can write them.
    """
    try:
        epoch = weights_epoch(file)
        what = f"is from epoch {epoch}" if epoch else "does not record its epoch"
    except ModelError:
        epoch, what = None, "is damaged" if file.exists() else "is missing"
    if epoch == best:
        return None
    if in_memory:
        return f"{file.name} {what}: it is written again, with the weights of epoch {best}."
    if epoch is not None and epoch > done:
        return (
            f"{file.name} {what}: the run continues from before the end of that epoch, and will "
            "write the file again there."
        )
    return (
        f"{file.name} {what}, and the weights of epoch {best}, the best so far, are lost: the file "
        "is written again after the next better epoch."
    )


class State(NamedTuple):
    """The tensors of a checkpoint."""

    params: Params
    opt_state: Tree
    key: Tensor
    plateau: PlateauState | None

    def after(self, record: Record) -> "State":
        """Return the state after the step of this record."""
        return self._replace(params=record.params, opt_state=record.opt_state)


def initial_state(experiment: Experiment, seed: int, device: str) -> State:
    """Return the state before the first step, a function of the seed."""
    init_key, data_key = random.split(random.key(seed, device))
    params = experiment.model.init(init_key)
    plateau = experiment.plateau.init() if experiment.plateau else None
    return State(params, experiment.tx.init(params.trainable), data_key, plateau)


class Progress:
    """The progress of a run, also saved in its run directory so that the run can be resumed.

    Args:
        directory: the run directory.
        model: the network.
        eval_params: `(record) -> Params`, the parameters to save as best and final.
        steps_per_epoch: the number of steps in an epoch.

    Attributes:
        record: the record of the last step, None before the first step.
        lines: the figures of each complete epoch.
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
        """The line of the best epoch, None if no epoch is done."""
        return best_line(self.lines)

    def restore(self, restored: Restored) -> tuple[Record, float]:
        """Continue from a checkpoint.

        Returns the record of its step, and the seconds that its epoch has already taken.
        """
        state, note = restored.state, from_json(Note, restored.note)
        sums = {
            name: torch.tensor(value, dtype=torch.float64, device=state.key.device)
            for name, value in note.sums.items()
        }
        self.lines = list(note.lines)
        # If there are sums, the epoch has no line yet, even if its last step is done.
        epoch = len(self.lines)
        self.record = Record(restored.step, epoch, False, state.params, state.opt_state, sums)
        return self.record, note.seconds

    def repair_best(self, record: Record) -> str | None:
        """Write the best weights again if the file is wrong and this record has them.

        Returns a message on what is wrong with the file, or None.
        """
        best = self.best.epoch if self.best else None
        # If there are sums, steps of the next epoch have already changed the weights.
        in_memory = best == record.epoch and not record.metrics
        file = self._directory.path / "best.safetensors"
        problem = best_problem(file, best, record.epoch, in_memory=in_memory)
        if problem and in_memory:
            self.write_weights("best", record)
        return problem

    def add(self, line: Line, record: Record) -> None:
        """Write the line of an epoch, and its weights if it is the best so far.

        Args:
            line: the figures of the epoch.
            record: the record of its last step.
        """
        self._directory.append_metrics(line)
        self.lines.append(line)
        if self.best is line:
            self.write_weights("best", record)

    def save(self, state: State, record: Record, seconds: float) -> None:
        """Write a checkpoint.

        Args:
            state: the state after the last step.
            record: the record of that step.
            seconds: the seconds that its epoch has already taken.
        """
        sums = {name: value.item() for name, value in record.metrics.items()}
        best = self.best.epoch if self.best else None
        note = to_json(Note(sums, tuple(self.lines), best, seconds))
        self._directory.checkpoints.save(record.step, state, note)
        self._saved_at = time.monotonic()

    def minutes_since_save(self) -> float:
        """Return the age of the last checkpoint in minutes."""
        return (time.monotonic() - self._saved_at) / 60

    def write_weights(self, name: str, record: Record) -> None:
        """Write `name.safetensors`, the weights of a record."""
        epoch = -(-record.step // self._steps_per_epoch)  # an incomplete epoch counts
        self._directory.write_weights(name, self._model, self._eval_params(record), epoch)
