"""How a run ended, and how a user is told."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fnet.run.recipe import Recipe
from fnet.run.schema import Line, Status
from fnet.show.tables import MISSING, percent
from fnet.show.terminal import Display

TEST_FINAL = "test accuracy, final"
TEST_BEST = "test accuracy, best epoch"
TRAIN_FINAL = "train accuracy, final"


def measured(final: Line | None, best: Line | None) -> dict[str, float]:
    """Return what a run is judged by, shares 0..1, by the names of a recipe's `reported`.

    Args:
        final: the line of the last whole epoch, None if there is none.
        best: that of the best epoch.
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
            numbers not finite.
        signal: the one that interrupted it, else None.
        directory: the run's directory.
        data: the name of the data set.
        stand_in: whether that stands in for the recipe's own.
        final: the line of the last whole epoch, None if there is none.
        best: that of the best epoch.
    """

    status: Status
    signal: int | None
    directory: Path
    data: str
    stand_in: bool
    final: Line | None
    best: Line | None

    @property
    def exit_code(self) -> int:
        """0, 1 for a run that diverged, and for one interrupted what a shell expects."""
        if self.signal is not None:
            return 128 + self.signal
        return 0 if self.ended_well else 1

    @property
    def ended_well(self) -> bool:
        """Whether it came to its last epoch or its target."""
        return self.status in ("complete", "stopped at target")


def go_on(recipe: Recipe, directory: Path) -> str:
    """Return how to go on with a run that was stopped."""
    return f"To go on: {recipe.origin.command} --resume {shlex.quote(str(directory))}"


def report_command(recipe: Recipe, directory: Path) -> str:
    """Return the command that writes the report of a run."""
    return f"python -m recipes.report {shlex.quote(str(directory))}{recipe.origin.recipe_option}"


def say_result(
    recipe: Recipe, outcome: Outcome, step: int, reported: Mapping[str, str], display: Display
) -> None:
    """Print the figures, and in the last line how far the run came.

    Args:
        recipe: the run's.
        outcome: how it ended.
        step: after which step.
        reported: the original author's figures by name.
        display: prints them.
    """
    where = f"on {outcome.data}"
    if outcome.stand_in:
        where += f", a stand-in for {recipe.data} and no result of {recipe.name}"
    figures = measured(outcome.final, outcome.best)
    if figures:
        rows = [[name, reported.get(name, MISSING), percent(figures[name])] for name in figures]
        columns = ["figure", "reported by the author", "measured"]
        display.table(f"{recipe.name} {where}", columns, rows)
    if not outcome.ended_well:
        reached = f"after step {step}: its weights are kept"
        if not step:
            reached = "before the first step: there are no weights to keep"
        # Steps that diverged do so again: what to change was said with the reason.
        more = f" {go_on(recipe, outcome.directory)}" if outcome.status == "interrupted" else ""
        display.say(f"Stopped {reached}.{more}")
    elif outcome.final is not None and outcome.best is not None:
        reached = percent(outcome.final.test_accuracy)
        best = f"best epoch {outcome.best.epoch}: {percent(outcome.best.test_accuracy)}"
        at_target = "" if outcome.status == "complete" else " Stopped at target."
        display.say(
            f"Test accuracy {reached} ({best}) {where}.{at_target} Run: {outcome.directory}"
        )
