"""The top of a run's report: what it is, how it ended, and its headline figures."""

import statistics
from collections.abc import Mapping

from fnet.nn import Summary
from fnet.run.outcome import TEST_BEST, TEST_FINAL, TRAIN_FINAL, measured, resume_hint
from fnet.run.recipe import Recipe
from fnet.run.record import RunRecord, is_on_authors_data
from fnet.run.report.formats import count, duration
from fnet.run.report.page import Header, Tile
from fnet.run.time_to_accuracy import THRESHOLDS, time_to
from fnet.show.tables import percent


def header(record: RunRecord, recipe: Recipe, summary: Summary | None) -> Header:
    """Return the top of the report of a run.

    Args:
        record: what the run's directory says.
        recipe: the run's.
        summary: the layers of its network, if known.
    """
    return Header(
        title=f"{recipe.name} ({record.variant})",
        subtitle=f"Run {record.path}",
        facts=_facts(record),
        status=record.status,
        warnings=tuple(_warnings(record, recipe)),
        tiles=tuple(_tiles(record, recipe, summary)),
        milestones=milestones(record),
    )


def milestones(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return (accuracy, time until it was reached) of the thresholds that were reached."""
    return tuple(
        (f"{share:.0%}", duration(seconds))
        for share, seconds in time_to(record.lines, THRESHOLDS).items()
        if seconds is not None
    )


def epochs_word(n: object) -> str:
    """Return "1 epoch", "2 epochs"."""
    return f"{n} {'epoch' if n == 1 else 'epochs'}"


def _facts(record: RunRecord) -> tuple[str, ...]:
    setup, environment = record.setup, record.environment
    facts = [
        setup.data,
        f"{setup.train_images:,} training images",
        f"{setup.test_images:,} test images",
        epochs_word(record.config.get("epochs", "?")),
        f"seed {record.config.get('seed', '?')}",
    ]
    if environment:
        facts.append(f"{environment.gpu or environment.cpu}, {environment.precision}")
    return tuple(facts)


def _warnings(record: RunRecord, recipe: Recipe) -> list[str]:
    epochs = record.config.get("epochs", "?")
    processes = record.environment.processes if record.environment else 1
    found = []
    if record.stand_in:
        found.append(
            f"These data stand in for {recipe.data}, which was not found on this machine and could "
            "not be downloaded. The run shows that everything works. Its figures are not results "
            f"of {recipe.name}."
        )
    if record.status not in ("complete", "stopped at target"):
        ended = {
            "interrupted": f"The run was stopped in epoch {len(record.lines) + 1} of {epochs}. "
            f"{resume_hint(recipe, record.path, processes)}",
            "unfinished": f"The run has no result: after {len(record.lines)} of {epochs} epochs it "
            "goes on, or was killed.",
            "damaged": "How the run ended is not known.",
        }
        found.append(ended.get(record.status, f"The run is {record.status}."))
    if record.result and record.result.reason:
        found.append(record.result.reason)
    if not record.lines:
        found.append("No epoch has ended: there is nothing measured.")
    if record.inexact:
        found.append(f"Resumed under other conditions: {'; '.join(record.inexact)}.")
    if record.damaged:
        found.append(f"Left out: {record.damaged} damaged or lost lines of metrics.jsonl.")
    for name, reason in record.unreadable.items():
        found.append(f"Left out: {name}, which is damaged ({reason}).")
    return found


def _tiles(record: RunRecord, recipe: Recipe, summary: Summary | None) -> list[Tile]:
    """Return the headline figures, the final test accuracy first."""
    shares = measured(record.final, record.best)
    reported = record.reported if is_on_authors_data(record, recipe) else {}
    tiles = []
    if record.final and record.best:
        held_out = record.best.validation_accuracy is not None
        chosen = (
            f"epoch {record.best.epoch}, chosen on {'validation' if held_out else 'test'} images"
        )
        tiles += [
            Tile("final test accuracy", percent(shares[TEST_FINAL]), _author(reported, TEST_FINAL)),
            Tile(
                "best test accuracy",
                percent(shares[TEST_BEST]),
                "; ".join(filter(None, (chosen, _author(reported, TEST_BEST)))),
            ),
            Tile(
                "final train accuracy",
                percent(shares[TRAIN_FINAL]),
                _author(reported, TRAIN_FINAL),
            ),
            Tile(
                "time",
                duration(sum(line.seconds for line in record.lines)),
                f"{epochs_word(len(record.lines))} with evaluation",
            ),
            Tile(
                "speed",
                f"{statistics.median(line.images_per_second for line in record.lines):,.0f}",
                "training images a second",
            ),
        ]
    if summary is not None:
        costs = f"{count(summary.multiply_adds)} multiply-adds an image"
        tiles.append(Tile("parameters", count(summary.parameters), costs))
    return tiles


def _author(reported: Mapping[str, str], name: str) -> str:
    return f"reported by the author: {reported[name]}" if name in reported else ""
