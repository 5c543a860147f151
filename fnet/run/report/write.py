"""A page on disk: whole or not there, and in the place of nothing but an older report."""

import os
import time
from pathlib import Path

from fnet.data import Dataset
from fnet.data.dataset import printable
from fnet.files import write_atomically
from fnet.nn import Params, summary
from fnet.run.config import ConfigError
from fnet.run.directory import REPORT
from fnet.run.outcome import report_command
from fnet.run.rate_curve import rate_curve
from fnet.run.recipe import Experiment, Recipe
from fnet.run.record import read_run
from fnet.run.report.evaluated import evaluate_run
from fnet.run.report.formats import duration
from fnet.run.report.run_page import report
from fnet.run.runtime import Runtime
from fnet.run.splits import Splits

_PATIENCE = 10.0
"""Seconds that the evaluation may take after any run."""
_SHARE = 0.2
"""The share of the run's own time that the evaluation may take after a longer run."""
_FEW = 128
"""The images on which its time is measured."""


def write_report(
    path: Path,
    recipe: Recipe,
    experiment: Experiment,
    params: Params | None,
    splits: Splits,
    runtime: Runtime,
) -> Path:
    """Write the report of a run that has just ended, and return its path.

    The test images are evaluated, unless that would take long compared with the run.

    Args:
        path: the run's directory, with its result.
        recipe: the run's.
        experiment: what the recipe built.
        params: the weights last reached, None before the first step.
        splits: the run's data.
        runtime: where to compute.

    Raises:
        ConfigError: it cannot be written.
    """
    record = read_run(path)
    layers = summary(experiment.model, splits.input_shape)
    evaluated, note = None, "The run was stopped before its first step: there are no weights."
    if params is not None:
        seconds = _estimate(experiment, params, splits.test, runtime)
        if seconds <= max(_PATIENCE, _SHARE * sum(line.seconds for line in record.lines)):
            evaluated = evaluate_run(experiment, params, "final", splits.test, runtime)
        else:
            note = (
                f"The {len(splits.test):,} test images were not evaluated, because that would take "
                f"{duration(seconds)} on this machine. To add the evaluation: "
                f"{report_command(recipe.origin, path)}"
            )
    rates = rate_curve(experiment, record.lines)
    write_page(path / REPORT, report(record, recipe, layers, evaluated, note, rates), replace=True)
    return path / REPORT


def _estimate(experiment: Experiment, params: Params, dataset: Dataset, runtime: Runtime) -> float:
    """Return about how many seconds the evaluation of a data set takes, measured on few images."""
    size = min(_FEW, len(dataset))
    few = dataset.take(size)
    times = []
    for _ in range(2):  # the first call is slower
        started = time.monotonic()
        evaluate_run(experiment, params, "final", few, runtime)
        times.append(time.monotonic() - started)
    return min(times) * len(dataset) / size


def require_new(file: Path) -> None:
    """Check that there is no such file, and that its directory is there.

    Raises:
        ConfigError: a page cannot be written to it.
    """
    if os.path.lexists(file):
        raise ConfigError(f"{file} exists and is not overwritten: give --out another name")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"cannot write {file}: there is no directory {file.parent}")


def write_page(file: Path, page: str, *, replace: bool = False) -> None:
    """Write a page.

    Args:
        file: where.
        page: the document.
        replace: whether a file that is there may go: a report is made of its run at any time.

    Raises:
        ConfigError: there is such a file, or it cannot be written.
    """
    if not replace:
        require_new(file)
    try:
        write_atomically(file, printable(page).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error


def free_name(file: Path) -> Path:
    """Return the name, or with -2, -3, ... before its suffix where that is taken."""
    number, found = 1, file
    while found.exists():
        number += 1
        found = file.with_stem(f"{file.stem}-{number}")
    return found
