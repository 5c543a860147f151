"""The display of a sweep: a live table of the arms, and lines for what happens to their runs."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from fnet.run.sweep.arms import Member, Sweep, results
from fnet.run.sweep.figures import table
from fnet.run.sweep.halving import Stopped
from fnet.show.live_table import LiveTable, Rows
from fnet.show.tables import percent
from fnet.show.terminal import Display

_READ_SECONDS = 2.0


class SweepDisplay:
    """The table of a sweep, shown live, and the state of the members that are being trained.

    Args:
        sweep: the sweep.
        out: its directory, from which the figures are read.
        console: shows it.
        stopped: the arms stopped so far; changes while the sweep goes on.
        save: writes the record; called after each run.
    """

    def __init__(
        self,
        sweep: Sweep,
        out: Path,
        console: Console,
        stopped: Sequence[Stopped],
        save: Callable[[], object],
    ) -> None:
        self.console = console
        self._sweep, self._out, self._stopped, self._save = sweep, out, stopped, save
        self._states: dict[tuple[str, int], str] = {}
        self._said: set[str] = set()
        self._shown = LiveTable(console, self._live_table)
        self._read()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the table within the context."""
        with self._shown.live():
            yield

    def refresh(self) -> None:
        """Show the current state of the table now."""
        self._shown.refresh()

    def say(self, text: str) -> None:
        """Print one line."""
        Display(self.console).say(text)

    def panel(self, text: str, title: str) -> None:
        """Print a notice in a box, but the same one only once."""
        if text not in self._said:
            self._said.add(text)
            Display(self.console).panel(text, title)

    def state(self, member: Member, state: str) -> None:
        """Show what a member is doing; an empty text if nothing."""
        self._states[member.arm.label, member.seed] = state

    def saved(self) -> None:
        """Write the record of the sweep, and read the figures anew."""
        self._save()
        self._read()

    def table(self) -> Rows:
        """Return the table of what was reached."""
        return table(
            self._sweep, self._reached, [self._stop(arm.label) for arm in self._sweep.arms]
        )

    def _live_table(self) -> Rows:
        if time.monotonic() - self._read_at > _READ_SECONDS:
            self._read()
        states = [self._now(arm.label) or self._stop(arm.label) for arm in self._sweep.arms]
        return table(self._sweep, self._reached, states)

    def _now(self, label: str) -> str:
        found = [
            f"seed {seed}: {state}"
            for (arm, seed), state in list(self._states.items())
            if arm == label and state
        ]
        return ", ".join(found)

    def _stop(self, label: str) -> str:
        found = (f"stopped after epoch {s.epoch}" for s in self._stopped if s.arm == label)
        return next(found, "")

    def _read(self) -> None:
        self._reached, self._read_at = results(self._sweep, self._out), time.monotonic()


def epoch_line(line: Mapping[str, Any], epochs: int) -> str:
    """Return the figures of an epoch in one line."""
    return (
        f"epoch {line['epoch']}/{epochs}, train {percent(line['train_accuracy'])}, test "
        f"{percent(line['test_accuracy'])}, {line['seconds']:.1f} s"
    )


class MemberDisplay(Display):
    """The display of a run of a sweep: its bars are a cell of the table, its lines have a label."""

    def __init__(self, sweep: SweepDisplay, member: Member) -> None:
        super().__init__(sweep.console)
        self._sweep, self._member = sweep, member
        self._epoch = ""

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show nothing of its own: the table is live."""
        try:
            yield
        finally:
            self._sweep.state(self._member, "")

    def say(self, text: str, style: str = "") -> None:
        """Print one line, with the member's name."""
        super().say(f"{self._member.label}: {text}", style)

    def panel(self, text: str, title: str) -> None:
        """Print a notice in a box, once for all members."""
        self._sweep.panel(text, title)

    def wait(self, name: str) -> None:
        """Show what is waited for."""
        self._sweep.state(self._member, name)

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show how far the epoch is."""
        super().progress(name, done, total, note)
        if name == "epoch":
            self._sweep.state(self._member, f"{done}/{total} steps{self._epoch} {note}".rstrip())

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Print the figures of an epoch in one line."""
        self._epoch = f", epoch {line['epoch']}/{epochs} done"
        accuracy = line.get("validation_accuracy", line["test_accuracy"])
        self._sweep.state(self._member, f"epoch {line['epoch']}/{epochs}: {percent(accuracy)}")
        self.say(epoch_line(line, epochs))

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print nothing: the figures are in the table of the sweep."""
