"""The report of one run: a page that says what was run, what came of it, and how to repeat it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fnet.nn import Summary
from fnet.run.outcome import TEST_BEST, measured
from fnet.run.recipe import Recipe
from fnet.run.record import (
    RunRecord,
    base_variant,
    changed_options,
    command,
    complete_config,
)
from fnet.run.report.evaluated import Evaluated, evaluation_section
from fnet.run.report.html import Content, Markup, element, page, plot, section, table, warning
from fnet.show import plots
from fnet.show.tables import LAYER_COLUMNS, MISSING, layer_rows, layer_totals, percent, shape

_SHORT = {
    "train_loss": "train loss",
    "train_accuracy": "train acc",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation acc",
    "test_loss": "test loss",
    "test_accuracy": "test acc",
    "learning_rate": "learning rate",
    "seconds": "seconds",
    "images_per_second": "images/s",
}


def report(
    record: RunRecord,
    recipe: Recipe,
    summary: Summary | None = None,
    evaluated: Evaluated | None = None,
    note: str = "",
) -> str:
    """Return the report of a run as one HTML document, which loads nothing and runs no script.

    Args:
        record: what the run's directory says.
        recipe: the run's, for the defaults of its options.
        summary: the layers of its network.
        evaluated: what the network makes of the test images.
        note: why there is no such evaluation.
    """
    title = f"{recipe.name} ({record.variant})"
    parts: list[Content] = [
        element("h1", title),
        element("p", _subtitle(record), class_="soft"),
        *map(warning, _warnings(record, recipe)),
        section("Result", _figures(record)),
    ]
    if record.lines:
        parts.append(section("Curves", plot(plots.curves({record.name: record.curves}), "Curves")))
    if evaluated is not None:
        parts.append(evaluation_section(evaluated))
    elif note:
        parts.append(section("Evaluation", element("p", note)))
    if record.lines:
        parts.append(section("Epochs", _epochs(record)))
    if summary is not None:
        parts.append(section("Layers", _layers(summary)))
    parts += [
        section("Config", *_config(record, recipe)),
        section("Environment", _values(asdict(record.environment) if record.environment else {})),
        section("Repeat this run", element("pre", command(record, recipe))),
    ]
    return page(f"{title}: {record.name}", *parts)


def show(value: object) -> str:
    """Return a JSON value for people."""
    if value is None or value == []:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(show, value)) if isinstance(value, list) else str(value)


def _subtitle(record: RunRecord) -> str:
    setup = record.setup
    return (
        f"Run {record.path}, on {setup.data} ({setup.train_images:,} train and "
        f"{setup.test_images:,} test images), "
        f"seed {record.config.get('seed', '?')}, {record.status}"
    )


def _warnings(record: RunRecord, recipe: Recipe) -> list[str]:
    epochs = record.config.get("epochs", "?")
    found = []
    if record.stand_in:
        found.append(
            f"These data stand in for {recipe.data}, which could not be had: the run shows that "
            f"everything works, and is no result of {recipe.name}."
        )
    if record.status not in ("complete", "stopped at target"):
        ended = {
            "interrupted": f"The run was stopped in epoch {len(record.lines) + 1} of {epochs}.",
            "unfinished": f"The run has no result: after {len(record.lines)} of {epochs} epochs it "
            "goes on, or was killed.",
            "damaged": "How the run ended is not known.",
        }
        found.append(ended.get(record.status, f"The run is {record.status}."))
    if record.damaged:
        found.append(f"Left out: {record.damaged} damaged or lost lines of metrics.jsonl.")
    for name, reason in record.unreadable.items():
        found.append(f"Left out: {name}, which is damaged ({reason}).")
    return found


def _figures(record: RunRecord) -> Markup:
    figures = measured(record.final, record.best)
    if not figures:
        return element("p", "No epoch has ended: there is nothing measured.")
    rows = []
    for name, share in figures.items():
        shown = f"{name} ({record.best.epoch})" if name == TEST_BEST and record.best else name
        rows.append([shown, record.reported.get(name, MISSING), percent(share)])
    return table(["figure", "reported by the author", "measured"], rows)


def _epochs(record: RunRecord) -> Markup:
    names = [name for name in _SHORT if any(name in line for line in record.curves)]
    rows = [
        [str(line.epoch), *(_cell(name, line.figures()) for name in names)] for line in record.lines
    ]
    best = [place for place, line in enumerate(record.lines) if line is record.best]
    return table(["epoch", *(_SHORT[name] for name in names)], rows, marked=best)


def _cell(name: str, line: Mapping[str, float]) -> str:
    if name not in line:
        return MISSING
    value = line[name]
    if name.endswith("accuracy"):
        return percent(value)
    return {"learning_rate": f"{value:.3g}", "seconds": f"{value:,.1f}"}.get(
        name, f"{value:,.0f}" if name == "images_per_second" else f"{value:.4f}"
    )


def _layers(summary: Summary) -> Markup:
    rows, totals = layer_rows(summary), layer_totals(summary)
    caption = element(
        "p",
        f"For one image {shape(summary.input_shape)} in float32: parameters "
        f"{summary.parameters_mb:.2f} MB, forward and backward {summary.forward_backward_mb:.2f} "
        f"MB, in all {summary.total_mb:.2f} MB.",
        class_="soft",
    )
    return Markup(table(LAYER_COLUMNS, rows, names=3, footer=totals) + caption)


def _config(record: RunRecord, recipe: Recipe) -> list[Markup]:
    changed = changed_options(record, recipe)
    base = base_variant(record, recipe)
    config = complete_config(record, recipe)
    rows = [[name, show(value)] for name, value in config.items()]
    marked = [place for place, name in enumerate(config) if name in changed]
    said = f"Marked: what differs from variant {base}." if marked else f"As variant {base} has it."
    return [
        element("p", said, class_="soft"),
        table(["option", "value"], rows, names=2, marked=marked),
    ]


def _values(values: Mapping[str, Any]) -> Markup:
    if not values:
        return element("p", "Not recorded.")
    rows = [[name, show(value)] for name, value in values.items()]
    return table(["", ""], rows, names=2)
