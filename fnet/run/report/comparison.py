"""Several runs beside each other: their figures, the options they differ in, their curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from fnet.run.config import ConfigError
from fnet.run.outcome import TEST_BEST, TEST_FINAL, TRAIN_FINAL, measured
from fnet.run.rate_curve import recorded_rates
from fnet.run.record import RunRecord
from fnet.run.report.curves import curves_view
from fnet.run.report.formats import show
from fnet.run.report.page import Header, Section, Table, render
from fnet.run.report.pictures import plot
from fnet.run.time_to_accuracy import THRESHOLDS, time_to
from fnet.show import plots
from fnet.show.tables import MISSING, percent

COLUMNS = (
    "run",
    TEST_FINAL,
    "reported by the author",
    TEST_BEST,
    TRAIN_FINAL,
    "seconds",
    "epochs",
    "status",
    "recipe",
    "variant",
    "data",
)
_WHERE_IT_RAN = ("out", "root")


def named(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Return the runs by their names, by their paths where two have one name.

    Raises:
        ConfigError: there are fewer than two, or one is given twice.
    """
    if len(records) < 2:
        raise ConfigError("give at least two runs to compare")
    places = [record.path.resolve() for record in records]
    for place in places:
        if places.count(place) > 1:
            raise ConfigError(f"the run {place} is given twice")
    names = [record.name for record in records]
    unique = len(set(names)) == len(names)
    return {record.name if unique else str(record.path.resolve()): record for record in records}


def figures(runs: Mapping[str, RunRecord]) -> list[list[str]]:
    """Return a row of each run, a cell for each of `COLUMNS`."""
    rows = []
    for name, record in runs.items():
        shares = _measured(record)
        seconds = sum(line.seconds for line in record.lines)
        rows.append(
            [
                name,
                percent(shares.get(TEST_FINAL)),
                record.reported.get(TEST_FINAL, MISSING),
                percent(shares.get(TEST_BEST)),
                percent(shares.get(TRAIN_FINAL)),
                f"{seconds:,.1f}",
                f"{len(record.lines)} of {record.config.get('epochs', '?')}",
                record.status,
                record.module.removeprefix("recipes."),
                record.variant,
                f"{record.setup.data}{' (a stand-in)' if record.stand_in else ''}",
            ]
        )
    return rows


def times(runs: Mapping[str, RunRecord]) -> list[list[str]]:
    """Return a row for each accuracy that a run reached: it, and the seconds of each run."""
    reached = {name: time_to(record.lines) for name, record in runs.items()}
    return [
        [
            f"{threshold:.0%}",
            *(
                f"{s:,.1f}" if (s := run[threshold]) is not None else MISSING
                for run in reached.values()
            ),
        ]
        for threshold in THRESHOLDS
        if any(run[threshold] is not None for run in reached.values())
    ]


def differences(runs: Mapping[str, RunRecord]) -> dict[str, list[Any]]:
    """Return the options whose values differ, each with its value in every run.

    None for a run whose recipe has no such option. The options --out and --root
    are not compared.
    """
    options = dict.fromkeys(name for record in runs.values() for name in record.config)
    values = {
        name: [record.config.get(name) for record in runs.values()]
        for name in options
        if name not in _WHERE_IT_RAN
    }
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def comparison(runs: Mapping[str, RunRecord]) -> str:
    """Return the comparison as one HTML document, which loads nothing and runs no script.

    Args:
        runs: by the names to show.
    """
    title = f"{len(runs)} runs compared"
    mixed = len({record.setup.data for record in runs.values()}) > 1
    warnings = ("These runs are not on the same data: compare with care.",) if mixed else ()
    sections = [Section("Figures", "figures", _figures(runs))]
    if any(record.lines for record in runs.values()):
        rates = [recorded_rates(record) for record in runs.values()]
        sections.append(Section("Curves", "curves", curves_view(runs, rates)))
        timed = plots.accuracy_by_time({name: record.curves for name, record in runs.items()})
        sections.append(Section("Accuracy by time", "by_time", plot(timed)))
    if rows := times(runs):
        table = Table(["accuracy", *runs], rows)
        sections.append(Section("Seconds to an accuracy", "times", table))
    sections.append(Section("Differences of the config", "differences", _differences(runs)))
    return render(title, Header(title, warnings=warnings), sections)


def _figures(runs: Mapping[str, RunRecord]) -> Table:
    """Return `figures` without empty columns."""
    rows = figures(runs)
    kept = [place for place, cells in enumerate(zip(*rows, strict=True)) if set(cells) != {MISSING}]
    accuracy = [shares.get(TEST_FINAL, -1) for shares in map(_measured, runs.values())]
    best = {place for place, share in enumerate(accuracy) if share == max(accuracy) >= 0}
    return Table(
        [COLUMNS[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        marked=frozenset(best),
    )


def _differences(runs: Mapping[str, RunRecord]) -> Table | None:
    rows = [[name, *map(show, values)] for name, values in differences(runs).items()]
    columns = ["option", *runs]
    return Table(columns, rows, names=len(columns)) if rows else None


def _measured(record: RunRecord) -> dict[str, float]:
    return measured(record.final, record.best)
