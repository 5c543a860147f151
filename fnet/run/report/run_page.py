"""The report of one run: a page that says what was run, what came of it, and how to repeat it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fnet.nn import Summary
from fnet.run.recipe import Recipe
from fnet.run.record import RunRecord, base_options, base_variant, changed_options, complete_config
from fnet.run.report.curves import curves_view
from fnet.run.report.evaluated import Evaluated, evaluation_view
from fnet.run.report.formats import figure, show
from fnet.run.report.headline import header
from fnet.run.report.page import Section, Table, render
from fnet.run.report.reproduce import reproduce_view
from fnet.show.tables import LAYER_COLUMNS, layer_rows, layer_totals, shape

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
    "skipped_steps": "skipped steps",
}


def report(
    record: RunRecord,
    recipe: Recipe,
    summary: Summary | None = None,
    evaluated: Evaluated | None = None,
    note: str = "",
    rates: Sequence[tuple[float, float]] = (),
) -> str:
    """Return the report of a run as one HTML document, which loads nothing and runs no script.

    Args:
        record: what the run's directory says.
        recipe: the run's, for the defaults of its options.
        summary: the layers of its network.
        evaluated: what the network makes of the test images.
        note: why there is no such evaluation.
        rates: the learning rates of steps; see `fnet.run.rate_curve.rate_curve`.
    """
    top = header(record, recipe, summary)
    sections = []
    if record.lines:
        sections.append(Section("Curves", "curves", curves_view({record.name: record}, [rates])))
    if evaluated is not None:
        sections.append(Section("Evaluation", "evaluation", evaluation_view(evaluated)))
    elif note:
        sections.append(Section("Evaluation", "evaluation", note))
    if record.lines:
        sections.append(Section("Epochs", "epochs", {"table": _epochs(record)}))
    if summary is not None:
        sections.append(Section("Network", "network", _network(summary)))
    sections += [
        Section("Configuration", "config", _config(record, recipe)),
        Section("Data", "data", _data(record)),
        Section(
            "Environment",
            "environment",
            _environment(record),
        ),
        Section("Reproduce and use", "reproduce", reproduce_view(record, recipe)),
    ]
    return render(f"{top.title}: {record.name}", top, sections)


def _epochs(record: RunRecord) -> Table:
    names = [name for name in _SHORT if any(name in line for line in record.curves)]
    rows = [
        [str(line.epoch), *(figure(name, line.figures()) for name in names)]
        for line in record.lines
    ]
    best = (place for place, line in enumerate(record.lines) if line is record.best)
    return Table(["epoch", *(_SHORT[name] for name in names)], rows, marked=frozenset(best))


def _network(summary: Summary) -> dict[str, Any]:
    return {
        "facts": [
            ("input", shape(summary.input_shape)),
            ("parameters", f"{summary.parameters:,} ({summary.parameters_mb:.2f} MB)"),
            ("multiply-adds, one image", f"{summary.multiply_adds:,}"),
            ("forward and backward, one image", f"{summary.forward_backward_mb:.2f} MB"),
        ],
        "layers": Table(
            LAYER_COLUMNS, layer_rows(summary), names=3, footer=tuple(layer_totals(summary))
        ),
    }


def _config(record: RunRecord, recipe: Recipe) -> dict[str, Any]:
    """Return the options in two tables, those that were changed first."""
    changed, base = changed_options(record, recipe), base_options(record, recipe)
    config = complete_config(record, recipe)
    names = sorted(config, key=lambda name: name not in changed)  # stable
    rows = [[name, show(config[name])] for name in names]
    for row in rows[: len(changed)]:
        if row[0] in base:
            row[1] += f" (was {show(base[row[0]])})"
    half = (len(rows) + 1) // 2
    tables = [
        Table(
            ["option", "value"],
            part,
            names=2,
            marked=frozenset(place for place, row in enumerate(part) if row[0] in changed),
        )
        for part in (rows[:half], rows[half:])
        if part
    ]
    variant = base_variant(record, recipe)
    said = f"Marked: what differs from variant {variant}." if changed else f"As variant {variant}."
    return {"said": said, "tables": tables}


def _data(record: RunRecord) -> list[tuple[str, str]]:
    setup = record.setup
    share = record.config.get("validation")
    return [
        ("data set", setup.data),
        ("training images", f"{setup.train_images:,}"),
        ("validation images", f"{share:.0%} of the training set" if share else "none"),
        ("test images", f"{setup.test_images:,}"),
        ("image", shape(setup.input_shape)),
        (f"classes ({len(setup.classes)})", ", ".join(setup.classes)),
        ("preprocess", show(setup.preprocess)),
        ("checksum", setup.data_checksum),
    ]


def _environment(record: RunRecord) -> list[tuple[str, str]]:
    values = asdict(record.environment) if record.environment else {"environment": "Not recorded."}
    return [(name, show(value)) for name, value in values.items()]
