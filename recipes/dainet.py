"""DaiNet and DaiNet1 on CIFAR-10: from Net to DaiNet7, 212,022 and 42,618 parameters.

    python -m recipes.dainet
    python -m recipes.dainet --variant dainet-author

Variants:

* default: DaiNet1 without dropout, with Muon and a one-cycle schedule, 20 epochs; dainet, deeper:
  DaiNet and DaiNet with one more convolution, trained in the same way; not measured yet
* author: the author's training of DaiNet1, with dropout in its first block only. The author reports
  77.76 % test accuracy, which is better than dropout in every block
* dropout-everywhere, no-dropout: as author, with dropout in every block and in none
* dainet-author: the author's training of DaiNet, SGD at 0.1, 200 epochs. The author reports 59.68 %
* deeper-author: the author's training of DaiNet with one more convolution, at 0.001. The author
  reports 77.89 %
* smoke: DaiNet1 on a few generated images, for a quick try

This is a reconstruction. Not known are DaiNet's second block, which convolution is the additional
one (here 3 x 3 with 24 channels, before the second pooling), the epochs of DaiNet1 and of the
deeper DaiNet, and the batch size; this recipe uses 200 epochs, batches of 128, and Adam.

Dropout before batch norm makes a gap between training and evaluation: in training it increases the
variance in batch norm's running statistics, which evaluation divides by (Li et al., "Understanding
the disharmony between dropout and batch normalization by variance shift", 2019).
--fresh-statistics 100 recomputes them without dropout before each evaluation. fnet has not measured
these networks on CIFAR-10 yet.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from fnet import models
from fnet.data import NORM_CIFAR10
from fnet.nn import Model
from fnet.run import cli
from fnet.run.outcome import TEST_BEST
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices
from recipes.training import TrainingConfig, experiment, normalization, short


@dataclass(frozen=True)
class Config(TrainingConfig):
    """The options of DaiNet and those of all recipes."""

    epochs: int = 20
    """The number of epochs."""
    network: Literal["dainet", "deeper", "dainet1"] = "dainet1"
    """dainet has two blocks, deeper has one more convolution, dainet1 has three blocks."""
    dropout: Literal["first", "every", "none"] = "first"
    """The blocks that have dropout, with rate 0.5."""
    augment: choices.AugmentName = "crop_flip"
    """The augmentation in training. crop_alternate mirrors each image in every other epoch.
    affine: small rotations, shifts and scales. more: affine, colour, then crop and flip."""
    activation: choices.ActivationName = "relu"
    """The activation after every layer but the last."""
    linears: int = 3
    """The number of linear layers at the end of the network, 1 to 3."""
    softmax: bool = False
    """Add a softmax at the end of the network, although the loss already contains one."""


AUTHOR = Config(epochs=200)
WELL = short(Config(), epochs=20, dropout="none", augment="crop_alternate", crop=2)
VARIANTS = {
    "default": WELL,
    "dainet": replace(WELL, network="dainet"),
    "deeper": replace(WELL, network="deeper"),
    "author": AUTHOR,
    "dropout-everywhere": replace(AUTHOR, dropout="every"),
    "no-dropout": replace(AUTHOR, dropout="none"),
    "dainet-author": replace(AUTHOR, network="dainet", optimizer="sgd", lr=0.1),
    "deeper-author": replace(AUTHOR, network="deeper"),
    "smoke": Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False),
}

_FIGURES = {"default": "77.76 %", "dainet": "59.68 %", "deeper": "77.89 %"}
REPORTED = {
    variant: {TEST_BEST: figure}
    for name, figure in _FIGURES.items()
    for variant in (name, "author" if name == "default" else f"{name}-author")
}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    networks: dict[str, tuple[Callable[..., Model], int]] = {
        "dainet": (models.dainet, 2),
        "deeper": (partial(models.dainet, deeper=True), 2),
        "dainet1": (models.dainet1, 3),
    }
    network, blocks = networks[config.network]
    rates = {
        "first": (0.5, *[0.0] * (blocks - 1)),
        "every": (0.5,) * blocks,
        "none": (0.0,) * blocks,
    }
    model = network(
        **splits.sizes,
        dropout=rates[config.dropout],
        activation=choices.activation(config.activation),
        linears=config.linears,
        softmax=config.softmax,
    )
    return experiment(config, splits, model, normalization(config, splits, "cifar10", NORM_CIFAR10))


RECIPE = Recipe("dainet", __doc__, "cifar10", VARIANTS, build, REPORTED, choices.OLD_NAMES)

if __name__ == "__main__":
    cli.run(RECIPE)
