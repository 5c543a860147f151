"""A table that changes while it is shown on a terminal; without one, only lines are printed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fnet.show.terminal import plain_table

_PER_SECOND = 4


class Rows(NamedTuple):
    """The content of a table: plain text, no markup."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class LiveTable:
    """A table at the end of the terminal, below what is printed meanwhile.

    Args:
        console: where it is shown. If that is not a terminal, the table is not.
        content: returns the current content; called for each refresh, so it must be cheap.
    """

    def __init__(self, console: Console, content: Callable[[], Rows]) -> None:
        self._console, self._content = console, content
        self._live: Live | None = None

    def refresh(self) -> None:
        """Show the current content now."""
        if self._live is not None:
            self._live.refresh()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the table within the context, and remove it at its end."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_PER_SECOND,
            transient=True,
        ) as self._live:
            yield
        self._live = None

    def _render(self) -> Table:
        return plain_table(*self._content())
