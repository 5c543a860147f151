"""Mynet on CIFAR-10: four convolutions and a wide linear layer, 5,499,434 parameters.

    python -m recipes.mynet

SGD with momentum and weight decay, the learning rate halved when the train loss stops falling,
Xavier-uniform weights, 20 epochs of batches of 128. The author reports 79.69 % test and 84.34 %
train accuracy. fnet has not measured it yet.
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import dataclass

from fnet import models, optim
from fnet.data import NORM_CIFAR10
from fnet.losses import cross_entropy
from fnet.run import cli
from fnet.run.config import Config as CommonConfig
from fnet.run.outcome import TEST_FINAL, TRAIN_FINAL
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices


@dataclass(frozen=True)
class Config(CommonConfig):
    """The options of Mynet and those of all recipes."""

    epochs: int = 20
    """The number of epochs."""
    lr: float = 0.1
    """The initial learning rate."""
    weight_decay: float = 5e-4
    """The L2 weight decay."""
    factor: float = 0.5
    """The learning rate is multiplied by this factor on a plateau of the train loss."""
    patience: int = 5
    """The number of epochs without a lower train loss before the learning rate is reduced."""
    min_lr: float = 1e-6
    """The lower bound of the learning rate."""


VARIANTS = {
    "default": Config(),
    "smoke": Config(data="shapes", epochs=2, limit=64, batch_size=32, patience=0, compile=False),
}

REPORTED = {"default": {TEST_FINAL: "79.69 %", TRAIN_FINAL: "84.34 %"}}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    return Experiment(
        model=models.mynet(**splits.sizes),
        tx=choices.optimizer("momentum", config.lr, weight_decay=config.weight_decay),
        loss=cross_entropy,
        preprocess=NORM_CIFAR10,
        augment=choices.augment("crop_flip"),
        plateau=optim.plateau(
            config.lr, factor=config.factor, patience=config.patience, min_lr=config.min_lr
        ),
    )


RECIPE = Recipe("mynet", __doc__, "cifar10", VARIANTS, build, REPORTED)

if __name__ == "__main__":
    cli.run(RECIPE)
