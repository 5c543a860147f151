"""Draw a run, or several in one plot: curves, confusion matrix, test images, mistakes, filters.

python -m recipes.plot runs/cnn-default-s0 runs/cnn-pro-s0

Each plot is written as PNG and SVG. The curves are of all runs given; the others, of a single run,
need its weights and its test images.
"""

from fnet.run.process import start_command

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
from fnet.run.record import RunRecord, read_run
from fnet.run.report import evaluate_run, evaluation_figures, named
from fnet.show import plots
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, OpenOptions):
    """The command line of `python -m recipes.plot`."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN ...]")]]
    """The directories of the runs."""
    out: Path = Path("plots")
    """A directory, made if it is not there; files in it are not overwritten."""
    only: tuple[str, ...] = ()
    """Some of curves, confusion, images, mistakes, filters (else all)."""
    dark: bool = False
    """Write each plot for a dark background as well."""
    images: int = 64
    """How many test images to show, and at most as many mistakes."""


CURVES, OF_IMAGES = "curves", ("confusion", "images", "mistakes", "filters")


def _run(options: Options) -> int:
    options = replace(options, out=expanded(options.out))
    wanted = _wanted(options)
    _require_free(wanted, options.out)
    records = [read_run(path) for path in options.runs]
    figures = {}
    if CURVES in wanted:
        runs = named(records) if len(records) > 1 else {records[0].name: records[0]}
        figures[CURVES] = plots.curves({name: record.curves for name, record in runs.items()})
    if set(wanted) & set(OF_IMAGES):
        drawn = _of_images(records[0], options)
        figures |= {name: figure for name, figure in drawn.items() if name in wanted}
    display = Display(Console())
    for file in _write(figures, options):
        display.say(str(file))
    return 0


def _wanted(options: Options) -> tuple[str, ...]:
    """Return the names of the plots to draw."""
    if not options.runs:
        raise ConfigError("give the directory of a run")
    if options.images < 1:
        raise ConfigError(f"--images is at least 1; got {options.images}")
    for name in options.only:
        if name not in (CURVES, *OF_IMAGES):
            raise ConfigError(f"--only is of {', '.join((CURVES, *OF_IMAGES))}; got {name!r}")
        if name in OF_IMAGES and len(options.runs) > 1:
            raise ConfigError(f"--only {name} is of one run: give one")
    if len(options.runs) > 1:
        return (CURVES,)
    return options.only or (CURVES, *OF_IMAGES)


def _of_images(record: RunRecord, options: Options) -> dict[str, Figure]:
    run, runtime = options.open_at(record.path)
    dataset = options.open_data(run)
    evaluated = evaluate_run(
        run.experiment, run.params, run.weights, dataset, runtime, mistakes=options.images
    )
    return evaluation_figures(evaluated, options.images)


def _require_free(wanted: Sequence[str], out: Path) -> None:
    if not os.path.isdir(out):  # glob raises an error where it may not look
        return
    for name in wanted:
        for file in (*out.glob(f"{name}.*"), *out.glob(f"{name}-dark.*")):
            raise ConfigError(f"{file} exists and is not overwritten: give --out another directory")


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


main = Tool("plot", __doc__, Options, _run)

if __name__ == "__main__":
    sys.exit(main())
