"""Compare runs: a table of their figures, the options they differ in, their curves on one page.

python -m recipes.compare runs/cnn-default-s0 runs/cnn-pro-s0
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from fnet.display import Display
from fnet.record import RunRecord, read_run
from fnet.report import (
    COLUMNS,
    comparison,
    differences,
    figures,
    free_name,
    named,
    show,
    write_page,
)
from fnet.tool import Tool


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.compare`."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN RUN [RUN ...]")]]
    """The directories of two runs or more."""
    out: Path | None = None
    """A new file for the page (else comparison.html, or comparison-2.html, ...)."""
    json: bool = False
    """Print one JSON object in place of tables; the page is written with --out only."""


def _run(options: Options) -> int:
    runs = named([read_run(path) for path in options.runs])
    file = options.out or (None if options.json else free_name(Path("comparison.html")))
    if file is not None:
        write_page(file, comparison(runs))
    if options.json:
        print(json.dumps(_record(runs), indent=2, ensure_ascii=False))
    else:
        _show(runs, Console())
        Display(Console()).say(f"Page: {file}")
    return 0


def _record(runs: Mapping[str, RunRecord]) -> dict[str, object]:
    return {
        "runs": [
            {
                "name": name,
                "run": str(record.path),
                "recipe": record.module,
                "variant": record.variant,
                "data": record.setup.get("data"),
                "stand_in": record.stand_in,
                "status": record.status,
                "final": record.final,
                "best": record.best,
                "reported": record.reported,
            }
            for name, record in runs.items()
        ],
        "differences": differences(runs),
    }


def _show(runs: Mapping[str, RunRecord], console: Console) -> None:
    """Print both tables with a column for each run: they stay narrow."""
    rows = list(zip(COLUMNS, *figures(runs), strict=True))[1:]
    console.print(_table("Figures", "figure", runs, rows))
    differing = [(name, *map(show, values)) for name, values in differences(runs).items()]
    if differing:
        console.print(_table("Differences of the config", "option", runs, differing))


def _table(
    title: str, corner: str, runs: Mapping[str, RunRecord], rows: Sequence[Sequence[str]]
) -> Table:
    table = Table(title=title, title_justify="left")
    for name in (corner, *runs):
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


main = Tool("compare", __doc__, Options, _run)

if __name__ == "__main__":
    sys.exit(main())
