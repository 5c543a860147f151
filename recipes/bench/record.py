"""A benchmark as JSON values: the figures, and every single timing that they come from."""

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
    """Return what was measured.

    Args:
        results: what each contender did, by row.
        meter: with which the timings were taken.
    """
    return {
        "gflops": {"best": meter.best, "worst": meter.worst},
        "rows": [_row(work, entries, meter) for work, entries in results.items()],
    }


def versions() -> dict[str, str]:
    """Return the versions of the peers' packages, as far as they are installed."""
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
