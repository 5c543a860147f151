"""Plot one run or several: curves, confusion matrix, test images, mistakes, filters.

python -m recipes.plot runs/cnn-default-s0 runs/cnn-pro-s0

Each plot is written as PNG and SVG. The curves show all given runs. The other plots are only for a
single run, and need its weights and test images.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from matplotlib.figure import Figure
from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data.load import expanded
from fnet.run.command import DataOptions, OpenOptions, Tool
from fnet.run.config import ConfigError
from fnet.run.rate_curve import recorded_rates
from fnet.run.record import RunRecord, read_run
from fnet.run.report import evaluate_run, evaluation_figures, named
from fnet.show import plots
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, OpenOptions):
    """The command line of `python -m recipes.plot`."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN ...]")]]
    """The run directories."""
    out: Path = Path("plots")
    """The output directory, created if it does not exist; files are never overwritten."""
    only: tuple[str, ...] = ()
    """Draw only these of curves, confusion, images, mistakes, filters (default: all)."""
    dark: bool = False
    """Write each plot for a dark background as well."""
    images: int = 64
    """The number of test images to show, and the maximum number of mistakes."""


CURVES, SINGLE_RUN = "curves", ("confusion", "images", "mistakes", "filters")


def _plot(options: Options) -> int:
    options = replace(options, out=expanded(options.out))
    wanted = _wanted(options)
    _require_free(wanted, options.out)
    records = [read_run(path) for path in options.runs]
    figures = {}
    if CURVES in wanted:
        runs = named(records) if len(records) > 1 else {records[0].name: records[0]}
        rates = {name: recorded_rates(record) for name, record in runs.items()}
        curves = {name: record.curves for name, record in runs.items()}
        figures[CURVES] = plots.curves(curves, rates)
    if set(wanted) & set(SINGLE_RUN):
        drawn = _single_run_figures(records[0], options)
        figures |= {name: figure for name, figure in drawn.items() if name in wanted}
    display = Display(Console())
    for file in _write(figures, options):
        display.say(str(file))
    return 0


def _wanted(options: Options) -> tuple[str, ...]:
    """Return the names of the plots to draw."""
    if not options.runs:
        raise ConfigError("give at least one run directory")
    if options.images < 1:
        raise ConfigError(f"--images must be at least 1; got {options.images}")
    for name in options.only:
        if name not in (CURVES, *SINGLE_RUN):
            names = ", ".join((CURVES, *SINGLE_RUN))
            raise ConfigError(f"--only must be one or more of {names}; got {name!r}")
        if name in SINGLE_RUN and len(options.runs) > 1:
            raise ConfigError(f"--only {name} is for a single run: give one run directory")
    if len(options.runs) > 1:
        return (CURVES,)
    return options.only or (CURVES, *SINGLE_RUN)


def _single_run_figures(record: RunRecord, options: Options) -> dict[str, Figure]:
    run, runtime = options.open_at(record.path)
    dataset = options.open_data(run)
    evaluated = evaluate_run(
        run.experiment, run.params, run.weights, dataset, runtime, max_mistakes=options.images
    )
    return evaluation_figures(evaluated, options.images)


def _require_free(wanted: Sequence[str], out: Path) -> None:
    if not os.path.isdir(out):  # glob raises an error if it has no permission
        return
    for name in wanted:
        for file in (*out.glob(f"{name}.*"), *out.glob(f"{name}-dark.*")):
            raise ConfigError(
                f"{file} exists and is not overwritten: give another directory with --out"
            )


def _write(figures: dict[str, Figure], options: Options) -> list[Path]:
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        return [
            file
            for name, figure in figures.items()
            for file in plots.save(figure, options.out / name, dark=options.dark)
        ]
    except OSError as error:
        raise ConfigError(f"cannot write to --out {options.out}: {error.strerror}") from error


main = Tool("plot", __doc__, Options, _plot)

if __name__ == "__main__":
    sys.exit(main())
