"""What commands share: how they end, and the options of those that open a run."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional, arg

from fnet.checkpoint import CheckpointError
from fnet.data import DataError, DataWarning
from fnet.environment import ConfigError, Runtime, resolve
from fnet.nn import ModelError
from fnet.run import Run, Weights, open_run

USER_ERRORS = (CheckpointError, ConfigError, DataError, ModelError)
"""What was asked for cannot be: the message says why, and what to do."""


def exit_code(work: Callable[[], int]) -> int:
    """Run the work of a command and return its exit code.

    What `work` returns; 2 for one of `USER_ERRORS`, 130 after Ctrl-C, each with a message on
    standard error. A `DataWarning` is a line there.

    Args:
        work: what the command does.

    >>> exit_code(lambda: 0)
    0
    """
    # torch looks for CUDA to compile with, and says at every start where it finds half of it.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    errors = Console(stderr=True)
    try:
        with _warnings_as_lines():
            return work()
    except USER_ERRORS as error:
        errors.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show each warning for the user as a line, once, and not as one for authors of code."""
    usual = warnings.showwarning
    said = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, DataWarning):
            usual(message, category, filename, lineno, file, line)
        elif str(message) not in said:
            said.add(str(message))
            # Not with a console of its own: a live display makes way for what is printed.
            print(f"warning: {message}", file=sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How a command opens a run."""

    weights: Weights = "best"
    """Those of the best epoch, or those last reached."""
    recipe: str | None = None
    """The module of the run's recipe, where that is not one of recipes.*: it is imported."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""

    def open_at(self, path: Path, compile: bool = False) -> tuple[Run, Runtime]:
        """Return the run in a directory, and what to compute on: this device, in its precision.

        Raises:
            ConfigError: there is no such device, or the run cannot be opened.
        """
        device = resolve(self.device).device
        run = open_run(path, self.weights, recipe=self.recipe, device=device)
        return run, resolve(device, run.config.precision, compile)


@dataclass(frozen=True, kw_only=True)
class RunOptions(OpenOptions):
    """The options of a command that opens one run."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """The directory of a run."""

    def open(self, compile: bool = False) -> tuple[Run, Runtime]:
        """Return the run, and what to compute on; see `open_at`."""
        return self.open_at(self.run, compile)
