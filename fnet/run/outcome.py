"""The outcome of a run, and the messages at its end."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fnet.run.origin import Origin
from fnet.run.recipe import Recipe
from fnet.run.schema import Line, Status
from fnet.show.tables import MISSING, percent
from fnet.show.terminal import Display

TEST_FINAL = "test accuracy, final"
TEST_BEST = "test accuracy, best epoch"
TRAIN_FINAL = "train accuracy, final"


def measured(final: Line | None, best: Line | None) -> dict[str, float]:
    """Return the accuracies of a run, 0..1, with the same names as a recipe's `reported`.

    Args:
        final: the line of the last complete epoch, or None.
        best: the line of the best epoch, or None.
    """
    if final is None or best is None:
        return {}
    return {
        TEST_FINAL: final.test_accuracy,
        TEST_BEST: best.test_accuracy,
        TRAIN_FINAL: final.train_accuracy,
    }


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "complete", "stopped at target", "interrupted" by a signal, or "diverged" to
            non-finite numbers.
        signal: the signal that interrupted the run or came after its last step, else None.
        directory: the run directory.
        data: the name of the data set.
        stand_in: whether this data set is a stand-in for the recipe's own.
        final: the line of the last complete epoch, or None.
        best: the line of the best epoch, or None.
        processes: the number of processes of the run.
    """

    status: Status
    signal: int | None
    directory: Path
    data: str
    stand_in: bool
    final: Line | None
    best: Line | None
    processes: int = 1

    @property
    def exit_code(self) -> int:
        """0 if complete, 1 if diverged, 128 + the signal number if interrupted."""
        if self.signal is not None:
            return 128 + self.signal
        return 0 if self.ended_well else 1

    @property
    def ended_well(self) -> bool:
        """Whether the run reached its last epoch or its target."""
        return self.status in ("complete", "stopped at target")


def resume_hint(recipe: Recipe, directory: Path, processes: int = 1) -> str:
    """Return the sentence that tells the user how to resume a run of so many processes."""
    words = [*recipe.origin.words_of(processes), "--resume", str(directory)]
    return f"To resume: {shlex.join(words)}"


def report_command(origin: Origin, directory: Path) -> str:
    """Return the command that writes the report of a run of this recipe."""
    return f"python -m recipes.report {shlex.quote(str(directory))}{origin.recipe_option}"


def say_result(
    recipe: Recipe, outcome: Outcome, step: int, reported: Mapping[str, str], display: Display
) -> None:
    """Print the figures, and in the last line how the run ended.

    Args:
        recipe: the recipe of the run.
        outcome: how the run ended.
        step: the last step.
        reported: the original author's figures by name.
        display: prints the lines.
    """
    where = f"on {outcome.data}"
    if outcome.stand_in:
        where += f", a stand-in for {recipe.data}: not a result of {recipe.name}"
    figures = measured(outcome.final, outcome.best)
    if figures:
        rows = [[name, reported.get(name, MISSING), percent(figures[name])] for name in figures]
        columns = ["figure", "reported by the author", "measured"]
        display.table(f"{recipe.name} {where}", columns, rows)
    if not outcome.ended_well:
        reached = f"after step {step}: the weights are saved"
        if not step:
            reached = "before the first step: there are no weights to save"
        # A diverged run would diverge again: the reason, printed before, says what to change.
        interrupted = outcome.status == "interrupted"
        more = (
            f" {resume_hint(recipe, outcome.directory, outcome.processes)}" if interrupted else ""
        )
        display.say(f"Stopped {reached}.{more}")
    elif outcome.final is not None and outcome.best is not None:
        reached = percent(outcome.final.test_accuracy)
        best = f"best epoch {outcome.best.epoch}: {percent(outcome.best.test_accuracy)}"
        at_target = "" if outcome.status == "complete" else " Stopped at target."
        display.say(
            f"Test accuracy {reached} ({best}) {where}.{at_target} Run: {outcome.directory}"
        )
