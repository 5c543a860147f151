"""Successive halving: after some epochs, the worse half of the arms is stopped.

With n arms and E epochs, arms are compared after E / 2^k epochs for k = floor(log2(n)), ..., 1,
each time by the mean over the seeds, and the better half goes on. Every run keeps its own schedule
of E epochs: it is stopped with a checkpoint, and the better ones are resumed. Source: Jamieson and
Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from fnet.run.config import ConfigError
from fnet.run.directory import RunDirectory
from fnet.run.record import RunRecord
from fnet.run.sweep.arms import Arm, Member, Sweep, has_ended
from fnet.show.tables import percent


@dataclass(frozen=True)
class Stopped:
    """An arm that was stopped because it lagged.

    Attributes:
        arm: its label.
        epoch: the epoch after which it was stopped.
        reason: the comparison, for people.
    """

    arm: str
    epoch: int
    reason: str


def rungs(sweep: Sweep) -> list[int]:
    """Return the epochs after which arms are compared.

    Raises:
        ConfigError: there are fewer than two arms or epochs, or the arms have different epochs.
    """
    epochs = {arm.config.epochs for arm in sweep.arms}
    if len(sweep.arms) < 2:
        raise ConfigError("--halving compares arms: give several values of an option")
    if len(epochs) > 1:
        raise ConfigError("--halving compares arms after equal epochs: give one value of --epochs")
    found = schedule(epochs.pop(), len(sweep.arms))
    if not found:
        raise ConfigError("--halving stops arms between epochs: give at least --epochs 2")
    return found


def schedule(epochs: int, arms: int) -> list[int]:
    """Return the epochs after which so many arms are compared.

    >>> schedule(8, 8), schedule(2, 8), schedule(6, 3)
    ([1, 2, 4], [1], [3])
    """
    found = {math.ceil(epochs / 2**k) for k in range(1, int(math.log2(arms)) + 1)}
    return sorted(epoch for epoch in found if epoch < epochs)


def halve(arms: Sequence[Arm], seeds: Sequence[int], epoch: int, out: Path) -> list[Stopped]:
    """Return the arms of the worse half after an epoch; for equal accuracies, the later ones.

    The accuracy is that on the validation images, or on the test images if there are none.
    """
    reached = {arm.label: _accuracy(arm, seeds, epoch, out) for arm in arms}
    order = sorted(reached, key=lambda label: -reached[label])
    keep = math.ceil(len(order) / 2)
    last = percent(reached[order[keep - 1]])
    return [
        Stopped(
            label,
            epoch,
            f"Halving: after epoch {epoch} the accuracy of {label} was "
            f"{_shown(reached[label])}; the best {keep} of {len(order)} had at least {last}.",
        )
        for label in order[keep:]
    ]


def note_in_runs(arm: Arm, stopped: Stopped, seeds: Sequence[int], out: Path) -> None:
    """Write the reason into the `result.json` of the arm's runs, whose reports show it."""
    for seed in seeds:
        record = Member(arm, seed).record(out)
        if record and record.result and not has_ended(record) and not record.result.reason:
            result = replace(record.result, reason=stopped.reason)
            RunDirectory(record.path).write_result(result)


def _accuracy(arm: Arm, seeds: Sequence[int], epoch: int, out: Path) -> float:
    return mean(_of_run(Member(arm, seed).record(out), epoch) for seed in seeds)


def _of_run(record: RunRecord | None, epoch: int) -> float:
    """Return a run's accuracy after an epoch; that of its last one, if it ended well before."""
    lines = record.lines if record else ()
    if len(lines) < epoch and (record is None or record.status == "diverged" or not lines):
        return -math.inf
    accuracy = lines[min(epoch, len(lines)) - 1].evaluated_accuracy
    return -math.inf if math.isnan(accuracy) else accuracy


def _shown(accuracy: float) -> str:
    return "not a number (the loss was not finite)" if accuracy == -math.inf else percent(accuracy)
