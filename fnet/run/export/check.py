"""The check of an exported file: what it predicts, against what the run predicts."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fnet import random
from fnet.data import DataError
from fnet.data.load import at_hand
from fnet.evaluation import EVAL_BATCH, make_forward
from fnet.nn import ModelError
from fnet.run.config import ConfigError
from fnet.run.export.formats import FORMATS, Classify, Format
from fnet.run.opened import Run

TOLERANCE = 1e-3
"""The largest difference of a probability: other programs sum in another order."""


@dataclass(frozen=True)
class Checked:
    """What the check of a file found.

    Attributes:
        images: the number of images.
        what: which images.
        difference: the largest difference of a probability.
        other_classes: the number of images with another predicted class.
    """

    images: int
    what: str
    difference: float
    other_classes: int


def check_images(run: Run, most: int) -> tuple[Tensor, str]:
    """Return images to check an export of the run with, and what they are.

    They are at most `most` test images of the run's data set, or random ones if it is not there;
    nothing is downloaded.
    """
    try:
        if at_hand(run.own_data, run.config.root, split="test"):
            dataset = run.open_data(None, None, "test")
            return dataset.take(min(most, len(dataset))).images, f"test images of {dataset.name}"
    except (DataError, ConfigError):
        pass
    shape = (min(most, 64), *run.input_shape)
    images = random.randint(random.key(0), shape, 0, 256).to(torch.uint8)
    return images, f"random images, because {run.data} is not there"


def check_export(format: Format, path: Path, run: Run, images: Tensor, what: str) -> Checked | None:
    """Load the file with the program of its format, and compare its predictions with the run's.

    Args:
        format: the format.
        path: the file.
        run: the run, with its weights on the CPU.
        images: uint8 `[N, C, H, W]`.
        what: which images they are.

    Returns:
        what was found; None if the program of the format is not installed.

    Raises:
        ModelError: a probability differs by more than `TOLERANCE`.
    """
    classify = FORMATS[format].load(path, run)
    if classify is None:
        return None
    forward = make_forward(run.model, preprocess=run.preprocess)
    with torch.no_grad():
        own = _in_batches(lambda part: forward(run.params, part).softmax(-1), images)
        found = _in_batches(classify, images)
    difference = (own - found).abs().max().item()
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the file predicts other probabilities than the run, by up to {difference:.2g}: it "
            "was not kept. Export to another format, or change the layer that this exporter "
            "translates wrongly"
        )
    other = int((own.argmax(-1) != found.argmax(-1)).sum())
    return Checked(len(images), what, difference, other)


def _in_batches(classify: Classify, images: Tensor) -> Tensor:
    """Return the probabilities of all images; batches have several sizes, the last one is 1."""
    sizes = [EVAL_BATCH] * ((len(images) - 1) // EVAL_BATCH)
    sizes += [len(images) - 1 - sum(sizes), 1]
    return torch.cat([classify(part.contiguous()) for part in images.split(sizes) if len(part)])
