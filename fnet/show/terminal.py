"""The display of a training: live progress bars on a terminal, plain lines elsewhere."""

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_REFRESH_SECONDS = 0.25
_PLAIN_SECONDS = 30.0


# Escape sequences, and marks that turn the direction of a text, act on what is around them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    r"""Return a text with its control characters spelled out, but for tabs and ends of lines.

    For what others have written: a server's answer, the name of a file or of a class.

    >>> inert("\x1b[2J cat")
    '\\x1b[2J cat'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a small table of plain text (no markup); long cells are wrapped."""
    table = Table(title=Text(inert(title), "table.title"), title_justify="left")
    for name in columns:
        table.add_column(Text(inert(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(inert(cell)) for cell in row))
    return table


class _OfBars(ProgressColumn):
    """A column that is empty for a task without a known total."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__(column.get_table_column())
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return "" if task.total is None else self._column.render(task)


class _Left(_OfBars):
    """A column that is empty, too, beside what has reached its end."""

    def render(self, task: Task) -> RenderableType:
        return "" if task.finished else super().render(task)


class Display:
    """Progress bars, and one line for each epoch.

    It does not depend on the training: the caller gives it counts and figures.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _OfBars(MofNCompleteColumn()),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            _Left(TextColumn("left")),
            _Left(TimeRemainingColumn()),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._refreshed: dict[str, float] = {}
        self._printed = time.monotonic()
        self._headed = False

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show progress bars within the context, and remove them at its end."""
        try:
            with self._live:
                yield
        finally:
            for name in tuple(self._tasks):
                self.finish(name)

    def say(self, text: str, style: str = "") -> None:
        """Print one line."""
        self._print(Text(inert(text), style), soft_wrap=True)

    def panel(self, text: str, title: str) -> None:
        """Print a notice in a box."""
        self._print(Panel(Text(inert(text)), title=Text(inert(title)), border_style="yellow"))

    def wait(self, name: str) -> None:
        """Show a spinner with the elapsed time on a terminal, until `finish`."""
        self._add(name, None)

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Update a bar, or create it. Updates are rate-limited, so it is cheap to call often."""
        self._add(name, total)
        now = time.monotonic()
        if done < total and now - self._refreshed.get(name, -math.inf) < _REFRESH_SECONDS:
            return
        self._refreshed[name] = now
        self._live.update(self._tasks[name], completed=done, total=total, note=note)
        if not self.console.is_terminal and now - self._printed > _PLAIN_SECONDS:
            self._printed = now
            self.say(f"{name}: {done} of {total}  {note}".rstrip())

    def restart(self, name: str) -> None:
        """Reset a bar and its elapsed time."""
        if name in self._tasks:
            self._live.reset(self._tasks[name], note="")

    def finish(self, name: str) -> None:
        """Remove a bar."""
        if name in self._tasks:
            self._live.remove_task(self._tasks.pop(name))

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Print the line of an epoch; before the first one, print the column headings.

        On a narrow terminal, the columns that do not fit are omitted.
        """
        cells = {
            "epoch": f"{line['epoch']}/{epochs}".rjust(9),
            "train loss": f"{line['train_loss']:.4f}",
            "train acc": f"{line['train_accuracy']:.2%}",
            "test loss": f"{line['test_loss']:.4f}",
            "test acc": f"{line['test_accuracy']:.2%}",
        }
        if "validation_accuracy" in line:
            cells["valid. acc"] = f"{line['validation_accuracy']:.2%}"
        cells["learn. rate"] = f"{line['learning_rate']:.3g}"
        cells["time"] = f"{line['seconds']:.1f} s".rjust(8)
        widths = [max(map(len, cell)) for cell in cells.items()]
        room = self.console.width if self.console.is_terminal else math.inf
        shown = sum(end - 1 <= room for end in accumulate(width + 1 for width in widths))

        def row(texts: Iterable[str]) -> str:
            padded = [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
            return " ".join(padded[:shown])

        if not self._headed or line["epoch"] == 1:
            self._headed = True
            self.say(row(cells), "bold")
        self.say(row(cells.values()))

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a small table of plain text (no markup); long cells are wrapped."""
        self._print(plain_table(title, columns, rows))

    def _print(self, what: RenderableType, *, soft_wrap: bool = False) -> None:
        """Print; if that fails, print nothing from then on, because the training must continue."""
        try:
            self.console.print(what, soft_wrap=soft_wrap)
        except (OSError, SystemExit):  # rich exits the process on a broken pipe
            self.console.quiet = True

    def _add(self, name: str, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._live.add_task(name, total=total, note="")
