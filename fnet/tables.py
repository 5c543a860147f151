"""Tables for a terminal, of what other parts of fnet computed."""

from rich.table import Table
from rich.text import Text

from fnet.nn import Summary


def layer_table(summary: Summary) -> Table:
    """Return a network's layers as a table: a row for each, the totals and the sizes below.

    Print it with `rich.print` or a `rich.console.Console`. Sizes are in MB of 2**20 bytes, for
    one image in float32; `fnet.nn.Summary` says what they count.
    """
    table = Table(
        title=f"Layers, for an image {_shape(summary.input_shape)}",
        title_justify="left",
        caption=_sizes(summary),
        caption_justify="left",
        show_footer=True,
    )
    table.add_column("layer", "total")
    table.add_column("type")
    table.add_column("output shape")
    table.add_column("parameters", f"{summary.parameters:,}", justify="right")
    table.add_column("multiply-adds", f"{summary.multiply_adds:,}", justify="right")
    for layer in summary.layers:
        table.add_row(
            Text(layer.name),
            layer.type,
            "–" if layer.output_shape is None else _shape(layer.output_shape),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
        )
    return table


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _sizes(summary: Summary) -> str:
    sizes = {
        "input": summary.input_mb,
        "forward and backward": summary.forward_backward_mb,
        "parameters": summary.parameters_mb,
        "total": summary.total_mb,
    }
    return "\n".join(f"{name:<20} {size:>9.2f} MB" for name, size in sizes.items())
