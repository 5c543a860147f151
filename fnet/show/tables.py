"""Tables of layers and of an evaluation, for the terminal and for HTML pages."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from fnet.evaluation import Evaluation
from fnet.nn import Summary

MISSING = "-"
"""The text of a missing value."""

LAYER_COLUMNS = ["layer", "type", "output shape", "parameters", "multiply-adds"]
CLASS_COLUMNS = ["class", "images", "accuracy"]


def layer_table(summary: Summary) -> Table:
    """Return a network's layers as a table: one row a layer, then the totals and the sizes.

    Print it with `rich.print` or a `rich.console.Console`. Sizes are in MB of 2**20 bytes, for
    one image in float32; `fnet.nn.Summary` defines them.
    """
    table = Table(
        title=f"Layers, for one image {shape(summary.input_shape)}",
        title_justify="left",
        caption="\n".join([_sizes(summary), *_of_batch(summary)]),
        caption_justify="left",
        show_footer=True,
    )
    for place, heading in enumerate(zip(LAYER_COLUMNS, layer_totals(summary), strict=True)):
        if place < 2:  # a narrow terminal wraps only these two columns, which contain names
            table.add_column(*heading, overflow="fold")
        else:
            table.add_column(*heading, justify="left" if place == 2 else "right", no_wrap=True)
    for row in layer_rows(summary):
        table.add_row(*map(Text, row))
    return table


def _of_batch(summary: Summary) -> list[str]:
    if not summary.of_batch:
        return []
    return [
        "draw one set of numbers for the whole batch, which differ if the batch is cut otherwise: "
        + ", ".join(name or "(network)" for name in summary.of_batch)
    ]


def layer_rows(summary: Summary) -> list[list[str]]:
    """Return one row for each layer, with the columns `LAYER_COLUMNS`."""
    return [
        [
            layer.name or "(network)",
            layer.type,
            MISSING if layer.output_shape is None else shape(_of_one(layer.output_shape)),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
        ]
        for layer in summary.layers
    ]


def layer_totals(summary: Summary) -> list[str]:
    """Return the last row, with the columns `LAYER_COLUMNS`."""
    return ["total", "", "", f"{summary.parameters:,}", f"{summary.multiply_adds:,}"]


def evaluation_rows(found: Evaluation) -> list[list[str]]:
    """Return the name and the value of each figure over all images."""
    top5 = [["top-5 accuracy", percent(found.top5)]] if len(found.confusion) > 5 else []
    return [
        ["loss", f"{found.loss:.4f}"],
        ["top-1 accuracy", percent(found.top1)],
        *top5,
        ["calibration error", percent(found.calibration_error)],
    ]


def class_rows(found: Evaluation, classes: Sequence[str]) -> list[list[str]]:
    """Return one row for each class, with the columns `CLASS_COLUMNS`."""
    counts = map(sum, found.confusion)
    return [
        [name, f"{images:,}", percent(share)]
        for name, images, share in zip(classes, counts, found.class_accuracy, strict=True)
    ]


def percent(share: float | None) -> str:
    """Return a share 0..1 as a percentage, `MISSING` for None.

    >>> percent(0.5), percent(None)
    ('50.00%', '-')
    """
    return MISSING if share is None else f"{share:.2%}"


def shape(sizes: tuple[int, ...]) -> str:
    """Return the shape of a tensor as text: "3 × 32 × 32"."""
    return " × ".join(map(str, sizes))


def _of_one(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without a leading batch dimension of 1."""
    return sizes[1:] if len(sizes) > 1 and sizes[0] == 1 else sizes


def _sizes(summary: Summary) -> str:
    sizes = {
        "input": summary.input_mb,
        "forward and backward": summary.forward_backward_mb,
        "parameters": summary.parameters_mb,
        "total": summary.total_mb,
    }
    return "\n".join(f"{name:<20} {size:>9.2f} MB" for name, size in sizes.items())
