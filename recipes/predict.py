"""Classify images with a run: files, folders of images, http and https URLs.

    python -m recipes.predict runs/dainet7-default-s0 cat.jpg https://example.org/ship.png

Images are resized to the size of the run's images: as in training if the run has --size, else the
aspect ratio is not kept.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from tyro.conf import Positional, arg

from fnet.data import DataError
from fnet.data.files.decode import SUFFIXES, decode_image, read_image
from fnet.data.files.url import MAX_SECONDS, SECONDS, fetch, is_url
from fnet.evaluation import make_forward
from fnet.run.command import RunOptions, Tool
from fnet.run.config import ConfigError
from fnet.run.opened import Run
from fnet.show.terminal import inert

_BAR = 30  # characters


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """The command line of `python -m recipes.predict`."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE [IMAGE ...]")]]
    """Files, folders of images, http and https URLs."""
    top: int | None = None
    """The number of most probable classes to show (default: all)."""
    timeout: float = SECONDS
    """The timeout for a URL, in seconds."""
    json: bool = False
    """Print one JSON object instead of tables."""


def _predict(options: Options) -> int:
    if not options.images:
        raise ConfigError("give at least one image: a file, a folder of images or a URL")
    if "" in options.images:
        raise ConfigError(
            "the name of an image is empty (from a shell variable that is not set?): give a file, "
            "a folder of images or a URL"
        )
    if options.top is not None and options.top < 1:
        raise ConfigError(f"--top must be at least 1; got {options.top}")
    if not 0 < options.timeout <= MAX_SECONDS:
        raise ConfigError(
            f"--timeout must be above 0 and at most {MAX_SECONDS:g}; got {options.timeout}"
        )
    run, runtime = options.open()
    # All images are read before the first is classified, so that an error is the only output.
    images = {
        name: _read(name, run, options.timeout)
        for given in options.images
        for name in _names(given)
    }
    predictions = {
        name: probabilities(run, image.to(runtime.device), runtime.dtype)
        for name, image in images.items()
    }
    if options.json:
        print(json.dumps(_record(run, predictions, options.top), indent=2, ensure_ascii=False))
    else:
        console = Console()
        for name, values in predictions.items():
            console.print(Text(inert(name), "bold"), soft_wrap=True)
            console.print(_bars(_ranked(run.classes, values, options.top)))
    return 0


def probabilities(run: Run, image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the probabilities of the run's classes, float32 `[classes]`.

    Each image is a batch of 1, so its probabilities do not depend on the other images.

    Args:
        run: the run with the weights.
        image: uint8 `[C, H, W]`, with the run's `input_shape`, on the device of the weights.
        dtype: the dtype of the forward pass.
    """
    forward = make_forward(run.model, preprocess=run.preprocess, dtype=dtype)
    with torch.no_grad():
        return forward(run.params, image[None])[0].to(torch.float32).softmax(-1)


def _names(given: str) -> list[str]:
    """Return the sorted images of a folder, or the given file or URL itself.

    Raises:
        DataError: there is no image in the folder, or it cannot be read.
    """
    if is_url(given) or not os.path.isdir(given):
        return [given]
    try:
        files = sorted(file for file in Path(given).iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise DataError(f"the folder {given} cannot be read: {error.strerror}") from error
    visible = [str(file) for file in files if not file.name.startswith(".")]
    if not visible:
        raise DataError(
            f"the folder {given} contains no image (no file name ends with "
            f"{', '.join(SUFFIXES)}): give a folder of images"
        )
    return visible


def _read(name: str, run: Run, timeout: float) -> Tensor:
    if is_url(name):
        return decode_image(fetch(name, seconds=timeout), run.input_shape, name, run.fit)
    return read_image(Path(name), run.input_shape, run.fit)


def _ranked(classes: tuple[str, ...], values: Tensor, top: int | None) -> list[tuple[str, float]]:
    """Return the `top` classes with their probabilities, the most probable first."""
    order = values.argsort(descending=True, stable=True)[:top].tolist()
    return [(classes[place], values[place].item()) for place in order]


def _record(run: Run, predictions: dict[str, Tensor], top: int | None) -> dict[str, object]:
    ranked = {name: _ranked(run.classes, values, top) for name, values in predictions.items()}
    return {
        "run": str(run.path),
        "weights": run.weights,
        "predictions": [
            {"image": name, "class": rows[0][0], "probabilities": dict(rows)}
            for name, rows in ranked.items()
        ],
    }


def _bars(rows: list[tuple[str, float]]) -> Table:
    table = Table()
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("", width=_BAR)
    for place, (label, probability) in enumerate(rows):
        style = "bold green" if place == 0 else ""
        bar = "█" * round(_BAR * probability)
        share = f"{probability:.2%}"
        table.add_row(Text(inert(label), style), Text(share, style), Text(bar, style))
    return table


main = Tool("predict", __doc__, Options, _predict)

if __name__ == "__main__":
    sys.exit(main())
