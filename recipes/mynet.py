"""Mynet on CIFAR-10: four convolutions and a wide linear layer, 5,499,434 parameters.

    python -m recipes.mynet
    python -m recipes.mynet --variant author

Variants:

* default: the same network with Muon, a one-cycle schedule and label smoothing, 3 epochs, the first
  two on images of 16 x 16. On CIFAR-10 it reached 80.60 % (`python -m recipes.mynet --data
  cifar10`, one run, seed 0, 2026-11-28)
* author: the author's training, SGD with momentum and weight decay, the learning rate halved when
  the train loss stops falling, Xavier-uniform weights, 20 epochs of batches of 128. The author
  reports 79.69 % test and 84.34 % train accuracy; fnet has not measured it yet
* smoke: the author's on a few generated images, for a quick try
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

from dataclasses import dataclass

from fnet import models, optim
from fnet.data import NORM_CIFAR10
from fnet.run import cli
from fnet.run.outcome import TEST_FINAL, TRAIN_FINAL
from fnet.run.recipe import Experiment, Recipe
from fnet.run.splits import Splits
from recipes import choices
from recipes.training import TrainingConfig, experiment, normalization, short


@dataclass(frozen=True)
class Config(TrainingConfig):
    """The options of all recipes, and Mynet's own. The defaults are the author's."""

    epochs: int = 20
    """The number of epochs."""
    optimizer: choices.OptimizerName = "momentum"
    """The optimizer; momentum and nesterov are SGD with momentum 0.9.
    muon: Muon for the convolutions, Adam for all other parameters."""
    lr: float = 0.1
    """The learning rate: the maximum of one_cycle, the initial value of the other schedules."""
    schedule: choices.ScheduleName = "plateau"
    """The learning rate over time. one_cycle: linearly up, then down to 0.
    plateau: reduced on a plateau of the train loss, by the three options below."""
    weight_decay: float | None = 5e-4
    """The weight decay: decoupled for muon (of the convolutions only) and adamw, L2 for all others.
    None: 0.01 for adamw, else 0."""
    augment: choices.AugmentName = "crop_flip"
    """The augmentation in training. crop_alternate mirrors each image in every other epoch.
    affine: small rotations, shifts and scales. more: affine, colour, then crop and flip."""
    factor: float = 0.5
    """The learning rate is multiplied by this factor on a plateau of the train loss."""
    patience: int = 5
    """The number of epochs without a lower train loss before the learning rate is reduced."""
    min_lr: float = 1e-6
    """The lower bound of the learning rate."""


VARIANTS = {
    "default": short(
        Config(),
        epochs=3,
        sizes=(16, 16),
        weight_decay=0.05,
        label_smoothing=0.1,
        augment="crop_alternate",
        crop=2,
    ),
    "author": Config(),
    "smoke": Config(data="shapes", epochs=2, limit=64, batch_size=32, patience=0, compile=False),
}

REPORTED = {key: {TEST_FINAL: "79.69 %", TRAIN_FINAL: "84.34 %"} for key in ("default", "author")}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    plateau = None
    if config.schedule == "plateau":
        plateau = optim.plateau(
            config.lr, factor=config.factor, patience=config.patience, min_lr=config.min_lr
        )
    model = models.mynet(**splits.sizes)
    preprocess = normalization(config, splits, "cifar10", NORM_CIFAR10)
    return experiment(config, splits, model, preprocess, plateau=plateau)


RECIPE = Recipe("mynet", __doc__, "cifar10", VARIANTS, build, REPORTED, choices.OLD_NAMES)

if __name__ == "__main__":
    cli.run(RECIPE)
