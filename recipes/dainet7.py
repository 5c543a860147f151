"""DaiNet7 on CIFAR-10: six 3x3 convolutions, 1,149,770 parameters.

    python -m recipes.dainet7

Variants:

* default: the same network trained in a fraction of the author's epochs: Muon for the convolutions,
  one cycle of the learning rate, label smoothing, and no dropout, which a short run cannot afford.
  The network that predicts is the author's
* author: as its author trained it, 250 epochs. Reported are 91.91 % test accuracy
* batch1024: as author, in batches of 1024
* smoke: the default on a few drawn images, to try it

On CIFAR-10 (JPEG copy, which costs about 3 points) it reached 87.27 %
test accuracy (one run, seed 0, two cores of an AMD EPYC at 2.4 GHz in fp32, 24 minutes; 36c1bac).
"""

from fnet.run.process import start_command

if __name__ == "__main__":
    start_command()

from dataclasses import dataclass, replace
from typing import Literal

from fnet import models, optim
from fnet.data import NORM_CIFAR10, steps_per_epoch
from fnet.nn import Model
from fnet.run import cli
from fnet.run.outcome import TEST_BEST
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices, training
from recipes.training import TrainingConfig


@dataclass(frozen=True)
class Config(TrainingConfig):
    """The options of DaiNet7 and those of all recipes."""

    epochs: int = 6
    """How many times to go through the training images."""
    optimizer: Literal["muon", "sgd", "adam"] = "muon"
    """Of the convolutions; with muon, Adam has the other parameters."""
    schedule: Literal["one_cycle", "author", "plateau"] = "one_cycle"  # type: ignore[assignment]
    """Up and down once; the author's, for 250 epochs; a tenth after ten epochs without progress."""
    lr: float = 0.02
    """The learning rate; of one_cycle the highest."""
    weight_decay: float | None = 0.05
    """Decoupled with muon, L2 with sgd and adam. None: 0."""
    label_smoothing: float = 0.1
    """The share of each label that is spread over all classes."""
    dropout: float = 0.0
    """A factor on the network's dropout rates while it trains; 1 is the author's."""
    activation: choices.ActivationName = "relu"
    """After every convolution."""
    augment: choices.AugmentName = "crop_flip"
    """What is done to the training images at random; see `choices.augment`."""
    network: Literal["dainet7", "resnet18", "resnet50"] = "dainet7"
    """The network; dropout and activation are DaiNet7's."""


AUTHOR = Config(
    optimizer="adam",
    schedule="author",
    epochs=250,
    lr=1e-3,
    weight_decay=5e-4,
    label_smoothing=0.0,
    dropout=1.0,
)
VARIANTS = {
    "default": Config(),
    "author": AUTHOR,
    "batch1024": replace(AUTHOR, batch_size=1024),
    "smoke": Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False),
}

REPORTED = {
    "default": {TEST_BEST: "91.91 % (250 epochs)"},
    "author": {TEST_BEST: "91.91 %"},
}

AUTHORS_RATES = {50: 0.5, 100: 0.3, 150: 0.1, 200: 0.01, 230: 0.001}
"""From which epoch on the author multiplies the first learning rate by what."""


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    return training.experiment(
        config,
        splits,
        model(config, classes=len(splits.train.classes), channels=splits.input_shape[0]),
        NORM_CIFAR10,
        tx=optimizer(config, steps_per_epoch(len(splits.train), config.batch_size)),
    )


def model(config: Config, classes: int, channels: int) -> Model:
    """Return the network of a config."""
    match config.network:
        case "resnet18":
            return models.resnet18(classes, channels)
        case "resnet50":
            return models.resnet50(classes, channels)
        case "dainet7":
            rates = tuple(config.dropout * rate for rate in models.DAINET7_DROPOUT)
            activation = choices.activation(config.activation)
            return models.dainet7(classes, channels, rates, activation)


def optimizer(config: Config, steps: int) -> optim.GradientTransformation:
    """Return the optimizer of a run with this many steps an epoch."""
    rate, decay = schedule(config, config.lr, steps), config.weight_decay or 0.0
    match config.optimizer:
        case "adam":
            return choices.optimizer("adam", rate, b2=0.99, weight_decay=decay)
        case "sgd":
            return optim.flatten(optim.sgd(rate, momentum=0.9, nesterov=True, weight_decay=decay))
        case "muon":
            others = schedule(config, config.lr * config.adam_lr, steps)
            return choices.muon(rate, others, decay)


def schedule(config: Config, peak: float, steps: int) -> optim.Schedule:
    """Return the learning rate of a run with this many steps an epoch."""
    match config.schedule:
        case "author":
            rates = {epoch * steps: factor * peak for epoch, factor in AUTHORS_RATES.items()}
            return optim.schedules.piecewise(peak, rates)
        case "plateau":
            return optim.schedules.constant(peak)
        case "one_cycle":
            return training.one_cycle(config, peak, config.epochs * steps)


RECIPE = Recipe("dainet7", __doc__, "cifar10", VARIANTS, build, REPORTED, choices.OLD_NAMES)

if __name__ == "__main__":
    cli.run(RECIPE)
