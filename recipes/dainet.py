"""DaiNet and DaiNet1 on CIFAR-10: from Net to DaiNet7, 212,022 and 42,618 parameters.

    python -m recipes.dainet
    python -m recipes.dainet --variant dropout-everywhere

The author reports 77.76 % test accuracy for DaiNet1 with dropout in its first block only (the
default), which is better than dropout in every block; 77.89 % for DaiNet with one more convolution
at a learning rate of 0.001; and 59.68 % for DaiNet with SGD at 0.1 after 200 epochs (`--variant
dainet`; its second block is a reconstruction). The author's batch size and number of epochs for
DaiNet1 are not known; this recipe uses batches of 128, Adam and 20 epochs.

On the JPEG copy of CIFAR-10 DaiNet1 reached 56.7 % test accuracy (one run; 59.5 % in its best
epoch), and 66.4 % on the images it trained on. Dropout before batch norm explains the gap: in
training it increases the variance in batch norm's running statistics, which evaluation divides by
(Li et al., "Understanding the disharmony between dropout and batch normalization by variance
shift", 2019). With running statistics recomputed without dropout, the same weights reach 68.4 %.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import dataclass
from typing import Literal

from fnet import models
from fnet.data import NORM_CIFAR10
from fnet.losses import cross_entropy
from fnet.run import cli
from fnet.run.config import Config as CommonConfig
from fnet.run.outcome import TEST_BEST
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices


@dataclass(frozen=True)
class Config(CommonConfig):
    """The options of DaiNet and those of all recipes."""

    epochs: int = 20
    """The number of epochs."""
    network: Literal["dainet", "dainet1"] = "dainet1"
    """dainet has two blocks, dainet1 has three."""
    dropout: Literal["first", "every", "none"] = "first"
    """The blocks that have dropout, with rate 0.5."""
    optimizer: choices.OptimizerName = "adam"
    """The optimizer; momentum is SGD with momentum 0.9."""
    lr: float = 1e-3
    """The learning rate."""
    augment: choices.AugmentName = "crop_flip"
    """The augmentation in training. more: affine, grayscale and colour, then crop and flip."""
    activation: choices.ActivationName = "relu"
    """The activation after every layer but the last."""
    linears: int = 3
    """The number of linear layers at the end of the network, 1 to 3."""
    softmax: bool = False
    """Add a softmax at the end of the network, although the loss already contains one."""


VARIANTS = {
    "default": Config(),
    "dropout-everywhere": Config(dropout="every"),
    "no-dropout": Config(dropout="none"),
    "dainet": Config(network="dainet", optimizer="sgd", lr=0.1, epochs=200),
    "smoke": Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False),
}

REPORTED = {
    "default": {TEST_BEST: "77.76 % (77.89 % in an earlier form)"},
    "dainet": {TEST_BEST: "59.68 %"},
}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    network, blocks = {"dainet": (models.dainet, 2), "dainet1": (models.dainet1, 3)}[config.network]
    rates = {
        "first": (0.5, *[0.0] * (blocks - 1)),
        "every": (0.5,) * blocks,
        "none": (0.0,) * blocks,
    }
    return Experiment(
        model=network(
            **splits.sizes,
            dropout=rates[config.dropout],
            activation=choices.activation(config.activation),
            linears=config.linears,
            softmax=config.softmax,
        ),
        tx=choices.optimizer(config.optimizer, config.lr),
        loss=cross_entropy,
        preprocess=NORM_CIFAR10,
        augment=choices.augment(config.augment),
    )


RECIPE = Recipe("dainet", __doc__, "cifar10", VARIANTS, build, REPORTED)

if __name__ == "__main__":
    cli.run(RECIPE)
