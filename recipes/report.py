"""Write the report of a run: one HTML page with its figures, plots, mistakes, layers and config.

    python -m recipes.report runs/dainet7-default-s0

The data set is not downloaded for the report. If it is not on this machine, give it with --data or
--root; otherwise the page has no evaluation.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fnet import data
from fnet.data.load import expanded
from fnet.nn import summary
from fnet.run.command import DataOptions, RunOptions, Tool
from fnet.run.loading import load_recipe, own_recipe
from fnet.run.opened import Weights
from fnet.run.rate_curve import rate_curve, recorded_rates
from fnet.run.record import RunRecord, read_run
from fnet.run.report import REPORT, evaluate_run, report, require_new, write_page
from fnet.run.runtime import resolve
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, RunOptions):
    """The command line of `python -m recipes.report`."""

    weights: Weights = "final"
    """The final weights, as in the report at the end of training, or those of the best epoch."""
    out: Path | None = None
    """A new file (else report.html in the run directory is replaced)."""


def _write_report(options: Options) -> int:
    # Check the options before the images are evaluated, which takes a while.
    resolve(options.device)
    out = None if options.out is None else expanded(options.out)
    if out is not None:
        require_new(out)
    record = read_run(options.run)
    if os.path.lexists(options.run / f"{options.weights}.safetensors"):
        page, note = _with_weights(record, options)
    else:
        recipe = (
            load_recipe(options.recipe)
            if options.recipe
            else own_recipe(record.setup.origin, options.run)
        )
        note = f"The run has no {options.weights} weights: there is nothing to evaluate."
        page = report(record, recipe, note=note, rates=recorded_rates(record))
    file = out or options.run / REPORT
    write_page(file, page, replace=out is None)
    display = Display(Console())
    if note:
        display.say(note)
    display.say(f"Report: {file}")
    return 0


def _with_weights(record: RunRecord, options: Options) -> tuple[str, str]:
    """Return the page and, if it has no evaluation, the reason, else ""."""
    run, runtime = options.open()
    layers = summary(run.model, run.input_shape)
    rates = rate_curve(run.experiment, record.lines)
    root = options.root or run.config.root
    if options.data is None and not data.at_hand(run.own_data, root, split="test"):
        note = f"Not evaluated: {run.own_data} is not on this machine. Give --data, or --root."
        return report(record, run.recipe, layers, note=note, rates=rates), note
    dataset = options.open_data(run)
    evaluated = evaluate_run(run.experiment, run.params, run.weights, dataset, runtime)
    return report(record, run.recipe, layers, evaluated, rates=rates), ""


main = Tool("report", __doc__, Options, _write_report)

if __name__ == "__main__":
    sys.exit(main())
