"""The common part of all commands: command line, exit codes, the options that open a run."""

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TextIO, TypeVar

import tyro
from rich.console import Console
from rich.text import Text
from torch import equal
from tyro.conf import Positional, arg

from fnet import private
from fnet.data import DataError, Dataset, DataWarning, Split
from fnet.nn import ModelError
from fnet.parallel import PeerError, launched
from fnet.run.checkpoint import CheckpointError
from fnet.run.config import ConfigError
from fnet.run.ensemble import Ensemble, Member
from fnet.run.opened import Run, Weights, open_run
from fnet.run.process import output_failed
from fnet.run.runtime import Runtime, resolve
from fnet.show.terminal import inert

USER_ERRORS = (CheckpointError, ConfigError, DataError, ModelError)
"""Errors of the user: the message says what is wrong and what to do, without a traceback."""

_NO_TEMPORARY_FILE = (
    "temporary file",
    "temporary directory",
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EROFS)),
)
"""Messages of a compiler, or of Python, that cannot write its temporary files."""

_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Tool(Generic[_Options]):
    """A command of `recipes` that is not an experiment, such as `python -m recipes.plot`.

    Calling it parses the command line, runs the command and returns the exit code.

    Attributes:
        name: the name of the module in `recipes`.
        doc: the module's docstring; None with `python -OO`.
        options: a dataclass; its fields are the options of the command line.
        work: runs the command with these options, and returns an exit code.
    """

    name: str
    doc: str | None
    options: type[_Options]
    work: Callable[[_Options], int]

    def __call__(self, args: Sequence[str] | None = None) -> int:
        """Run the command with these arguments (None: those of this process)."""
        prog, description = f"python -m recipes.{self.name}", (self.doc or "").strip()

        def work() -> int:
            options = tyro.cli(self.options, prog=prog, description=description, args=args)
            return self.work(options)

        return one_process(prog, work)


def one_process(prog: str, work: Callable[[], int]) -> int:
    """Run a command that is not for `torchrun` and return its exit code; see `exit_code`."""

    def checked() -> int:
        if launched().size > 1:
            raise ConfigError(f"this command has one process: start it without torchrun: {prog}")
        return work()

    with only_first_prints():
        return exit_code(checked)


@contextmanager
def only_first_prints() -> Iterator[None]:
    """Print nothing within the context, unless this is the first process of `torchrun`."""
    if launched().is_first:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def exit_code(work: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    The exit code is the result of `work`, 2 after one of `USER_ERRORS` or an error of the compiler,
    130 after Ctrl-C, or 1 if another process of the group has ended. All but the first print a
    message to standard error. A `DataWarning` is printed
    there as one line. Characters that the output stream cannot encode are escaped.

    >>> exit_code(lambda: 0)
    0
    """
    # torch searches for a CUDA toolkit at every start, and logs a warning if it is incomplete.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    errors = Console(stderr=True)
    try:
        with _warnings_as_lines():
            try:
                return work()
            finally:  # also if the command line's parser printed its help and exits
                sys.stdout.flush()
    except USER_ERRORS as error:
        reason = str(error)
    except private.compiler_errors() as error:
        reason = _why_not_compiled(f"{error.inner_exception}")  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130
    except PeerError as error:
        errors.print(f"Stopped: {error}.")
        return 1
    except OSError as error:
        if not output_failed():
            raise
        if isinstance(error, BrokenPipeError):  # the reader of the pipe has closed it: not an error
            return 1
        reason = f"cannot write to standard output: {error.strerror}"
    with suppress(OSError):
        errors.print(Text.assemble(("error: ", "red"), inert(reason)), soft_wrap=True)
    return 2


def _why_not_compiled(cause: str) -> str:
    """Return the part of a failed compiler's output that says why it failed."""
    begin = "the step cannot be compiled"
    for said in _NO_TEMPORARY_FILE:
        if said in cause:
            line = next(line for line in cause.splitlines() if said in line).strip()
            return (
                f"{begin}: {line}: set TMPDIR to a directory that has room and can be written to, "
                "or give --no-compile"
            )
    first = cause.partition("\n")[0]
    return f"{begin}: {first}: repair the compiler, or give --no-compile"


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each `DataWarning` once, as one line without the location in the code."""
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
            # With print, not with a new Console: rich's live display redirects print.
            print(f"warning: {inert(str(message))}", file=sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """The options for opening a run."""

    weights: Weights = "best"
    """The weights of the best epoch, or the final ones."""
    recipe: str | None = None
    """The module or file of the run's recipe, if it is not in recipes.*; it will be imported."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""

    def open_at(self, path: Path, compile: bool = False) -> tuple[Run, Runtime]:
        """Return the run in a run directory, and the runtime: the device and the run's precision.

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
    """The run directory."""

    def open(self, compile: bool = False) -> tuple[Run, Runtime]:
        """Return the run and the runtime; see `open_at`."""
        return self.open_at(self.run, compile)


@dataclass(frozen=True, kw_only=True)
class RunsOptions(OpenOptions):
    """The options of a command that takes one run, or several as one classifier."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN ...]")]]
    """The run directory; of several runs, the probabilities are averaged."""

    def open_all(self, compile: bool = False) -> tuple[Ensemble, Runtime]:
        """Return the runs, and the runtime of the first.

        Raises:
            ConfigError: there is no run, one cannot be opened (see `open_at`), or they do not fit
                each other (see `Ensemble`).
        """
        return open_ensemble(self, self.runs, compile)


def open_ensemble(
    options: OpenOptions, paths: Sequence[Path], compile: bool = False
) -> tuple[Ensemble, Runtime]:
    """Return the runs in these run directories, and the runtime of the first; see `open_all`."""
    if not paths:
        raise ConfigError("give at least one run: the run directory that a recipe has printed")
    opened = [options.open_at(path, compile) for path in paths]
    members = tuple(Member(run, runtime.dtype) for run, runtime in opened)
    return Ensemble(members), opened[0][1]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options for the images that a run is applied to."""

    data: str | None = None
    """A data set with the same classes and image shape: a name or a folder (else the run's own)."""
    root: str | None = None
    """The directory of the published data sets (else the run's --root)."""

    def open_data(self, run: Run, split: Split = "test") -> Dataset:
        """Return the images; see `Run.open_data`."""
        return run.open_data(self.data, self.root, split)

    def open_shared(self, ensemble: Ensemble, split: Split = "test") -> Dataset:
        """Return the images, which must be the same for all runs.

        They differ if the runs were trained on different data, or prepare them in different ways,
        or draw the test images of an undivided folder from different seeds: then one run's test
        images are another one's training images.

        Raises:
            ConfigError: they are not, or cannot be opened (see `Run.open_data`).
        """
        first, *others = (self.open_data(member.run, split) for member in ensemble.members)
        for path, other in zip(ensemble.paths[1:], others, strict=True):
            # torch.equal is False for different shapes.
            if not (equal(first.images, other.images) and equal(first.labels, other.labels)):
                raise ConfigError(
                    f"{ensemble.first.path} and {path} have different {split} images (--data, "
                    "--test with --seed, --size or --fit differ): evaluate each alone, or give "
                    "--data with images that none of them was trained on, in folders train and test"
                )
        return first
