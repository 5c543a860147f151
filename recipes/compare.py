"""Compare runs: tables of their figures and different options, and an HTML page with curves.

python -m recipes.compare runs/cnn-default-s0 runs/cnn-pro-s0
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data.load import expanded
from fnet.run.command import Tool
from fnet.run.record import RunRecord, read_run
from fnet.run.report import (
    COLUMNS,
    comparison,
    differences,
    figures,
    free_name,
    named,
    show,
    times,
    write_page,
)
from fnet.run.time_to_accuracy import in_percent, time_to
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.compare`."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN RUN [RUN ...]")]]
    """The run directories of two or more runs."""
    out: Path | None = None
    """A new file for the page (else comparison.html, or comparison-2.html, ...)."""
    json: bool = False
    """Print one JSON object instead of tables; the page is then only written with --out."""


def _compare(options: Options) -> int:
    runs = named([read_run(path) for path in options.runs])
    file = None if options.json else free_name(Path("comparison.html"))
    if options.out is not None:
        file = expanded(options.out)
    if file is not None:
        write_page(file, comparison(runs))
    if options.json:
        print(json.dumps(_record(runs), indent=2, ensure_ascii=False))
    else:
        display = Display(Console())
        _show(runs, display)
        display.say(f"Page: {file}")
    return 0


def _record(runs: Mapping[str, RunRecord]) -> dict[str, object]:
    return {
        "runs": [
            {
                "name": name,
                "run": str(record.path),
                "recipe": record.module,
                "variant": record.variant,
                "data": record.setup.data,
                "stand_in": record.stand_in,
                "status": record.status,
                "final": record.final.figures() if record.final else None,
                "best": record.best.figures() if record.best else None,
                "seconds_to_accuracy": in_percent(time_to(record.lines)),
                "reported": record.reported,
            }
            for name, record in runs.items()
        ],
        "differences": differences(runs),
    }


def _show(runs: Mapping[str, RunRecord], display: Display) -> None:
    """Print both tables, with one column for each run so that they are narrow."""
    rows = list(zip(COLUMNS, *figures(runs), strict=True))[1:]
    display.table("Figures", ["figure", *runs], rows)
    if seconds := times(runs):
        display.table("Seconds to an accuracy", ["accuracy", *runs], seconds)
    differing = [(name, *map(show, values)) for name, values in differences(runs).items()]
    if differing:
        display.table("Different options", ["option", *runs], differing)


main = Tool("compare", __doc__, Options, _compare)

if __name__ == "__main__":
    sys.exit(main())
