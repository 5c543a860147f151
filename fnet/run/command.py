"""What tools share: their command line, how they end, and the options of those that open a run."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TextIO, TypeVar

import tyro
from rich.console import Console
from rich.text import Text
from tyro.conf import Positional, arg

from fnet import private
from fnet.data import DataError, Dataset, DataWarning, Split
from fnet.nn import ModelError
from fnet.run.checkpoint import CheckpointError
from fnet.run.config import ConfigError
from fnet.run.opened import Run, Weights, open_run
from fnet.run.runtime import Runtime, resolve

USER_ERRORS = (CheckpointError, ConfigError, DataError, ModelError)
"""What was asked for cannot be: the message says why, and what to do."""

_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Tool(Generic[_Options]):
    """A command of `recipes` that trains no recipe of its own.

    Called, it parses the command line and returns the exit code of `exit_code`.

    Attributes:
        name: as in `python -m recipes.name`.
        doc: the module's docstring.
        options: a dataclass, whose fields are the command line's options.
        work: does what these ask for, and returns an exit code.
    """

    name: str
    doc: str
    options: type[_Options]
    work: Callable[[_Options], int]

    def __call__(self, args: Sequence[str] | None = None) -> int:
        """Run the command with these arguments (None: those of this process)."""
        prog, description = f"python -m recipes.{self.name}", self.doc.strip()
        return exit_code(
            lambda: self.work(tyro.cli(self.options, prog=prog, description=description, args=args))
        )


def exit_code(work: Callable[[], int]) -> int:
    """Run the work of a command and return its exit code.

    What `work` returns; 2 for one of `USER_ERRORS` and for a compiler that does not work, 130 after
    Ctrl-C, each with a message on standard error. A `DataWarning` is a line there. What a stream
    cannot encode is escaped.

    Args:
        work: what the command does.

    >>> exit_code(lambda: 0)
    0
    """
    # torch looks for CUDA to compile with, and says at every start where it finds half of it.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    errors = Console(stderr=True)
    try:
        with _warnings_as_lines():
            code = work()
            print(end="", flush=True)
            return code
    except USER_ERRORS as error:
        reason = str(error)
    except private.compiler_errors() as error:
        cause = f"{error.inner_exception}".partition("\n")[0]  # type: ignore[attr-defined]
        reason = f"the step cannot be compiled: {cause}: mend the compiler, or give --no-compile"
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130
    except BrokenPipeError:
        # Nobody reads on: what is still in the buffer must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    errors.print(Text.assemble(("error: ", "red"), reason), soft_wrap=True)
    return 2


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
    """The module or the file of the run's recipe, if not one of recipes.*: it is imported."""
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


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options of a command that shows a run images."""

    data: str | None = None
    """A data set of the same classes and shape, by name or as a folder (else the run's own)."""
    root: str | None = None
    """The directory that holds published data sets (else the run's --root)."""

    def open_data(self, run: Run, split: Split = "test") -> Dataset:
        """Return the images; see `Run.open_data`."""
        return run.open_data(self.data, self.root, split)
