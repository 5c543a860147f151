"""A page on disk: whole or not there, and in the place of nothing but an older report."""

import os
from pathlib import Path

from fnet.data.dataset import printable
from fnet.files import write_atomically
from fnet.nn import Params, summary
from fnet.run.config import ConfigError
from fnet.run.outcome import report_command
from fnet.run.recipe import Experiment, Recipe
from fnet.run.record import read_run
from fnet.run.report.evaluated import evaluate_run
from fnet.run.report.run_page import report
from fnet.run.runtime import Runtime
from fnet.run.splits import Splits

REPORT = "report.html"
"""The name of a run's report in its directory."""

# Multiply-adds: seconds on two cores, or a moment on a GPU. Counted, and not timed: the same run
# has the same report.
_QUICK = {"cpu": 5e10, "gpu": 1e14}


def write_report(
    path: Path,
    recipe: Recipe,
    experiment: Experiment,
    params: Params | None,
    splits: Splits,
    runtime: Runtime,
) -> Path:
    """Write the report of a run that has just ended, and return its path.

    The test images are evaluated where that takes a few seconds at most.

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
    layers = summary(experiment.model, splits.input_shape)
    evaluated, note = None, "The run was stopped before its first step: there are no weights."
    if params is not None:
        cost = layers.multiply_adds * len(splits.test)
        if cost <= _QUICK["cpu" if runtime.device == "cpu" else "gpu"]:
            evaluated = evaluate_run(experiment, params, "final", splits.test, runtime)
        else:
            later = report_command(recipe, path)
            note = f"Left out, for it takes its time: {later}"
    page = report(read_run(path), recipe, layers, evaluated, note)
    write_page(path / REPORT, page, replace=True)
    return path / REPORT


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
