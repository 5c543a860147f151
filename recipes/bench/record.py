"""The JSON record of a benchmark: the figures, and all timings behind them."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from recipes.bench.figures import figures, ratio
from recipes.bench.meter import Meter
from recipes.bench.race import Entry, own_entry
from recipes.bench.roster import JAX_PACKAGES, missing
from recipes.bench.work import Work


def record(results: Mapping[Work, Mapping[str, Entry]], meter: Meter) -> dict[str, Any]:
    """Return all measurements as JSON values.

    Args:
        results: the entries of the contenders, by row.
        meter: the meter that took the timings.
    """
    return {
        "gflops": {"best": meter.best, "worst": meter.worst},
        "rows": [_row(work, entries, meter) for work, entries in results.items()],
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages of the jax contender, if they are installed."""
    return {} if missing("jax") else {package: version(package) for package in JAX_PACKAGES}


def _row(work: Work, entries: Mapping[str, Entry], meter: Meter) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(work).items() if name != "folder"}
    own = own_entry(entries).timings("train")
    contenders = {}
    for name, entry in entries.items():
        found = {kind: figures(entry.timings(kind), meter.best) for kind in entry.attempts}
        contenders[name] = {
            "images_per_second": {kind: asdict(each) for kind, each in found.items() if each},
            "fnet_is_faster": ratio(own, entry.timings("train")),
            **asdict(entry),
        }
    return {**settings, "contenders": contenders}
