"""DaiNet7 on CIFAR-10: six 3x3 convolutions, 1,149,770 parameters.

    python -m recipes.dainet7

Variants:

* default: the same network trained in far fewer epochs: with Muon for the convolutions, a one-cycle
  schedule, label smoothing, and no dropout, because dropout needs more epochs. The network at
  evaluation is the author's
* author: the author's training, 250 epochs. The author reports 91.91 % test accuracy
* batch1024: as author, in batches of 1024
* smoke: the default on a few generated images, for a quick try

On CIFAR-10 the default reached 92.10 % test accuracy after its 10 epochs (`--data cifar10`, one
run, seed 0, one thread of an AMD EPYC, 2026-11-28), the first four of which are on images of
16 x 16 pixels.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
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
    """The number of epochs."""
    optimizer: Literal["muon", "sgd", "adam"] = "muon"
    """Optimizer of the convolutions. With muon, all other parameters are trained by Adam."""
    schedule: Literal["one_cycle", "author", "plateau"] = "one_cycle"  # type: ignore[assignment]
    """The learning rate over time. one_cycle: linearly up, then down to 0.
    author: the author's steps, for 250 epochs.
    plateau: divided by 10 after ten epochs without a lower train loss."""
    lr: float = 0.02
    """The learning rate: the maximum of one_cycle, the initial value of the other schedules."""
    weight_decay: float | None = 0.05
    """The weight decay: decoupled for muon (of the convolutions only), L2 for sgd and adam."""
    label_smoothing: float = 0.1
    """The fraction of each label that is spread over all classes."""
    dropout: float = 0.0
    """A factor for the network's dropout rates in training; 1 gives the author's rates."""
    activation: choices.ActivationName = "relu"
    """The activation after every convolution."""
    augment: choices.AugmentName = "crop_flip"
    """The augmentation in training. crop_alternate mirrors each image in every other epoch.
    affine: small rotations, shifts and scales. more: affine, colour, then crop and flip."""
    network: Literal["dainet7", "resnet18", "resnet50"] = "dainet7"
    """The network. --dropout and --activation only apply to dainet7."""


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
    "default": Config(epochs=10, sizes=(16, 16, 16, 16), augment="crop_alternate"),
    "author": AUTHOR,
    "batch1024": replace(AUTHOR, batch_size=1024),
    "smoke": Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False),
}

REPORTED = {
    "default": {TEST_BEST: "91.91 % (250 epochs)"},
    "author": {TEST_BEST: "91.91 %"},
}

AUTHORS_RATES = {50: 0.5, 100: 0.3, 150: 0.1, 200: 0.01, 230: 0.001}
"""The author's schedule: the factor of the initial learning rate from each of these epochs on."""


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    return training.experiment(
        config,
        splits,
        model(config, **splits.sizes),
        training.normalization(config, splits, "cifar10", NORM_CIFAR10),
        tx=optimizer(config, steps_per_epoch(len(splits.train), config.batch_size)),
    )


def model(config: Config, classes: int, channels: int, size: models.Size = 32) -> Model:
    """Return the network of a config."""
    match config.network:
        case "resnet18":
            return models.resnet18(classes, channels)
        case "resnet50":
            return models.resnet50(classes, channels)
        case "dainet7":
            rates = tuple(config.dropout * rate for rate in models.DAINET7_DROPOUT)
            activation = choices.activation(config.activation)
            return models.dainet7(classes, channels, rates, activation, size)


def optimizer(config: Config, steps: int) -> optim.GradientTransformation:
    """Return the optimizer of a config; `steps` is the number of steps in an epoch."""
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
    """Return the schedule of a config; `steps` is the number of steps in an epoch."""
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
