"""What a run has reached, in memory and on disk: where it is, its lines, weights and checkpoints.

Knows nothing of how a step is made, and shows nothing.
"""

import time
from typing import Any

import torch

from fnet.loop import Record
from fnet.run.best_weights import best_problem
from fnet.run.checkpoint import Restored
from fnet.run.directory import RunDirectory
from fnet.run.recipe import Experiment
from fnet.run.training_state import Note, State


class Progress:
    """What a run has reached, kept in its directory so that it can go on from there.

    Args:
        directory: the run's.
        experiment: what is trained.
        steps_per_epoch: how many steps an epoch has.
        chosen_by: the entry of a line that is highest in the best epoch.

    Attributes:
        record: where the run is, None before the first step.
        lines: the metrics line of each whole epoch.
        best: that of the best epoch, None before the first ends.
    """

    def __init__(
        self, directory: RunDirectory, experiment: Experiment, steps_per_epoch: int, chosen_by: str
    ) -> None:
        self._directory, self._experiment = directory, experiment
        self._steps_per_epoch, self._chosen_by = steps_per_epoch, chosen_by
        self._saved_at = time.monotonic()
        self.record: Record | None = None
        self.lines: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None

    def restore(self, restored: Restored) -> tuple[Record, float]:
        """Take up what a checkpoint holds.

        Returns where the run is, and for how many seconds its epoch has gone on.
        """
        state, note = restored.state, Note(**restored.note)
        sums = {
            name: torch.tensor(value, dtype=torch.float64, device=state.key.device)
            for name, value in note.sums.items()
        }
        self.lines = note.lines
        self.best = self.lines[note.best - 1] if note.best else None
        # With sums the epoch is not written down yet, even where its last step is done.
        epoch = len(self.lines)
        self.record = Record(restored.step, epoch, False, state.params, state.opt_state, sums)
        return self.record, note.seconds

    def mend_best(self, record: Record) -> str | None:
        """Write the best weights again where those on disk are others, if they can be had.

        Returns a sentence on what is wrong with those on disk, or None.
        """
        best = self.best["epoch"] if self.best else None
        # With sums, steps of the next epoch have changed the weights since.
        at_hand = best == record.epoch and not record.metrics
        file = self._directory.path / "best.safetensors"
        problem = best_problem(file, best, record.epoch, at_hand=at_hand)
        if problem and at_hand:
            self.write_weights("best", record)
        return problem

    def add(self, line: dict[str, Any], record: Record) -> None:
        """Write down an epoch, and its weights where it is the best so far.

        Args:
            line: its metrics.
            record: its last.
        """
        self._directory.append_metrics(line)
        self.lines.append(line)
        if self.best is None or line[self._chosen_by] > self.best[self._chosen_by]:
            self.best = line
            self.write_weights("best", record)

    def save(self, state: State, record: Record, seconds: float) -> None:
        """Write a checkpoint.

        Args:
            state: what the run goes on from.
            record: where it is.
            seconds: for how long its epoch has gone on.
        """
        sums = {name: value.item() for name, value in record.metrics.items()}
        note = Note(sums, self.lines, self.best["epoch"] if self.best else None, seconds)
        self._directory.checkpoints.save(record.step, state, note._asdict())
        self._saved_at = time.monotonic()

    def minutes_since_save(self) -> float:
        """Return the age of the last checkpoint."""
        return (time.monotonic() - self._saved_at) / 60

    def write_weights(self, name: str, record: Record) -> None:
        """Write `name.safetensors`, the weights of a record."""
        epoch = -(-record.step // self._steps_per_epoch)  # the one that goes on counts
        params = self._experiment.eval_params(record.params, record.opt_state)
        self._directory.write_weights(name, self._experiment.model, params, epoch)
