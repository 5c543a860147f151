"""The conduct of a sweep: its members are trained, compared after some epochs, and shown."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from fnet.run.checkpoint import run_lock
from fnet.run.config import ConfigError
from fnet.run.outcome import Outcome
from fnet.run.sweep.arms import Member, Sweep
from fnet.run.sweep.display import MemberDisplay, SweepDisplay
from fnet.run.sweep.figures import draw
from fnet.run.sweep.halving import Stopped, halve, note_in_runs, rungs
from fnet.run.sweep.record import SWEEP, resume_command, write_sweep
from fnet.show.terminal import Display


class Runner(Protocol):
    """Trains members, one after the other or at the same time."""

    def __call__(
        self, members: Sequence[Member], out: Path, until: int | None, display: SweepDisplay
    ) -> int:
        """Train the members until an epoch, or to their end; return an exit code.

        It is 0 if all of them got there. Calls `display.saved` after each run.
        """


def one_by_one(
    members: Sequence[Member], out: Path, until: int | None, display: SweepDisplay
) -> int:
    """Train the members one after the other, in this process."""
    for member in members:
        outcome = member.advance(out, MemberDisplay(display, member), until)
        display.saved()
        if isinstance(outcome, Outcome) and outcome.signal is not None:
            return outcome.exit_code
    return 0


def conduct(
    sweep: Sweep,
    out: Path,
    console: Console,
    stopped: Sequence[Stopped] = (),
    runner: Runner = one_by_one,
) -> int:
    """Train what is left of a sweep; show and save what it has reached; return the exit code.

    The exit code is 0, or 128 + the signal number after a signal. What was reached is shown and
    saved also if a run raises an error, because the others may have taken hours.

    Args:
        sweep: the sweep, which has passed `check_arms`.
        out: its directory.
        console: shows it.
        stopped: the arms that were stopped before, in a sweep that continues.
        runner: trains the members.

    Raises:
        CheckpointError, ConfigError, DataError, ModelError: as for `train`.
    """
    epochs: list[int | None] = [*(rungs(sweep) if sweep.halving else ()), None]
    lagging = list(stopped)
    with run_lock(out):
        write_sweep(sweep, lagging, out)
        display = SweepDisplay(
            sweep, out, console, lagging, lambda: write_sweep(sweep, lagging, out)
        )
        code = 1
        try:
            with display.live():
                code = _train(sweep, out, epochs, lagging, runner, display)
        except KeyboardInterrupt:  # between two runs; within a run, it is a request to stop
            code = 128 + signal.SIGINT
        finally:
            _conclude(sweep, out, display, Display(console), code)
    return code


def _train(
    sweep: Sweep,
    out: Path,
    epochs: Sequence[int | None],
    lagging: list[Stopped],
    runner: Runner,
    display: SweepDisplay,
) -> int:
    """Train all members, in stages that end after these epochs; add the arms stopped between."""
    arms = list(sweep.arms)
    for until in epochs:
        code = runner(sweep.members(arms), out, until, display)
        if code:
            return code
        if until is None:
            continue
        halved = [each for each in lagging if each.epoch == until]
        if not halved:
            halved = halve(arms, sweep.seeds, until, out)
            lagging += halved
            for each in halved:
                display.say(each.reason)
        display.saved()
        for each in halved:
            arm = next(arm for arm in arms if arm.label == each.arm)
            note_in_runs(arm, each, sweep.seeds, out)
            arms.remove(arm)
    return 0


def _conclude(sweep: Sweep, out: Path, shown: SweepDisplay, display: Display, code: int) -> None:
    """Show the table, and save the record and the plots of what was reached."""
    shown.saved()
    title, columns, rows = shown.table()
    display.table(title, columns, rows)
    try:
        written = [out / SWEEP, *draw(sweep, out)]
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}") from error
    for path in written:
        display.say(f"Written: {path}")
    if code:
        display.say(f"To continue: {resume_command(out)}")
