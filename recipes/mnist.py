"""LeNet-5 and MyCNN on MNIST: 61,706 and 8,110 parameters.

    python -m recipes.mnist
    python -m recipes.mnist --variant mycnn

Adam, batches of 128, pixels only scaled to 0..1, 5 epochs. The author reports no figure;
fnet reached 98.8 % test accuracy (98.7 to 98.9) with LeNet-5 and 98.7 % (98.6 to 98.7) with MyCNN,
three seeds each.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import dataclass, replace
from typing import Literal

from fnet import models
from fnet.data import normalize
from fnet.losses import cross_entropy
from fnet.run import cli
from fnet.run.config import Config as CommonConfig
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices


@dataclass(frozen=True)
class Config(CommonConfig):
    """The options of the networks for MNIST and those of all recipes."""

    epochs: int = 5
    """The number of epochs."""
    network: Literal["lenet5", "mycnn"] = "lenet5"
    """The network: LeNet-5, or MyCNN with batch norm and leaky ReLU."""
    optimizer: choices.OptimizerName = "adam"
    """The optimizer; momentum is SGD with momentum 0.9."""
    lr: float = 1e-3
    """The learning rate."""


SMOKE = Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False)
VARIANTS = {
    "default": Config(),
    "mycnn": Config(network="mycnn"),
    "smoke": SMOKE,
    "smoke-mycnn": replace(SMOKE, network="mycnn"),
}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    network = {"lenet5": models.lenet5, "mycnn": models.mycnn}[config.network]
    return Experiment(
        model=network(**splits.sizes),
        tx=choices.optimizer(config.optimizer, config.lr),
        loss=cross_entropy,
        preprocess=normalize(0.0, 1.0),
    )


RECIPE = Recipe("mnist", __doc__, "mnist", VARIANTS, build)

if __name__ == "__main__":
    cli.run(RECIPE)
