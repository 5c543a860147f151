"""Tables of a benchmark's figures, for the terminal and in Markdown."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from recipes.bench.calibrate import Gemm
from recipes.bench.figures import Figures, figures, ratio
from recipes.bench.meter import TOLERANCE, Meter
from recipes.bench.race import OWN, Entry, own_entry
from recipes.bench.work import Work

MARK = "†"
_COLUMNS = ["contender", "images/s", "lowest to highest", "ratio", "memory", "set-up"]


def row_table(work: Work, entries: Mapping[str, Entry], best: Gemm) -> Table:
    """Return a row of the benchmark as a table: one line for each contender, remarks below.

    The ratio is how many times faster fnet is. Memory is in MB of 2**20 bytes.

    Args:
        work: the row.
        entries: the measurements of each contender.
        best: the best calibration so far.
    """
    remarks = [f"{name}: {told}" for name, entry in entries.items() if (told := _told(entry, best))]
    table = Table(
        title=f"{work.network}, batches of {work.batch_size}",
        title_justify="left",
        caption=Text("\n".join(remarks)),
        caption_justify="left",
        box=box.SIMPLE,
    )
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "contender" else "right")
    own = own_entry(entries).timings("train")
    for name, entry in entries.items():
        found = figures(entry.timings("train"), best)
        faster = ratio(own, entry.timings("train")) if name != OWN else None
        table.add_row(
            name,
            _rate(found),
            _spread(found),
            "" if faster is None else f"{faster:.2f} ×",
            f"{entry.peak_memory / 2**20:,.0f} MB" if found else "",
            "" if entry.set_up_seconds is None else f"{entry.set_up_seconds:.1f} s",
        )
        if evaluated := figures(entry.timings("eval"), best):
            table.add_row(f"{name}, evaluation", _rate(evaluated), _spread(evaluated))
    return table


def markdown(results: Mapping[Work, Mapping[str, Entry]], best: Gemm) -> str:
    """Return all rows as one Markdown table: a line for each network, a column for each contender.

    Args:
        results: the entries of the contenders, by row.
        best: the best calibration of the whole benchmark.
    """
    names = list(dict.fromkeys(name for entries in results.values() for name in entries))
    peers = [name for name in names if name != OWN]
    heading = ["network, batch", OWN, "its evaluation", *peers]
    lines = [heading, ["---"] * len(heading)]
    for work, entries in results.items():
        cells = [f"{work.network}, {work.batch_size}"]
        own = own_entry(entries)
        found = figures(own.timings("train"), best)
        cells += [f"{_rate(found)} ({_spread(found)})" if found else "-"]
        cells += [_rate(figures(own.timings("eval"), best))]
        for name in peers:
            theirs = entries.get(name, Entry()).timings("train")
            faster = ratio(own.timings("train"), theirs)
            share = "" if faster is None else f" ({faster:.2f} ×)"
            cells += [_rate(figures(theirs, best)) + share]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def caption(meter: Meter) -> str:
    """Return the caption: the range of the calibrations, and the meaning of the mark."""
    products = ", ".join(
        f"{meter.worst[name]:,.0f} to {highest:,.0f} GFLOP/s in {name}"
        for name, highest in meter.best.items()
    )
    return (
        "Images/s: the median of all rounds; ratio: fnet's images/s to the peer's. Matrix products "
        f"of 2048 x 2048: {products}. {MARK}: in at least one round, they were more than "
        f"{TOLERANCE:.0%} below the best, so the machine had other load."
    )


def _spread(found: Figures | None) -> str:
    return f"{_number(found.low)} to {_number(found.high)}" if found else ""


def _rate(found: Figures | None) -> str:
    if found is None:
        return "-"
    return _number(found.median) + (f" {MARK}" if found.disturbed else "")


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _told(entry: Entry, best: Gemm) -> str:
    """Return the remarks on a contender, in addition to its figures."""
    told = [entry.note] if entry.note else []
    train, evaluation = entry.timings("train"), entry.timings("eval")
    if (faster := ratio(evaluation, train)) is not None:
        told.append(f"evaluates {faster:.1f} times as fast as it trains")
    if (found := figures(train, best)) and found.disturbed:
        told.append(f"disturbed in {found.disturbed} of {len(train)} rounds")
    if entry.error:
        told.append(f"failed: {entry.error}")
    return "; ".join(told)
