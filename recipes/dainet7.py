"""DaiNet7 on CIFAR-10: six 3x3 convolutions, 1,149,770 parameters.

python -m recipes.dainet7
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from fnet import cli, models, optim
from fnet.data import NORM_CIFAR10, compose, random_crop, random_flip, steps_per_epoch
from fnet.experiment import Config as CommonConfig
from fnet.experiment import Experiment, Recipe, Splits
from fnet.losses import cross_entropy


@dataclass(frozen=True)
class Config(CommonConfig):
    """The options of DaiNet7 and those of all recipes."""

    optimizer: Literal["muon", "sgd", "adam"] = "muon"
    """Of the convolutions; with muon the other parameters are Adam's."""
    schedule: Literal["one_cycle", "author"] = "one_cycle"
    """one_cycle: up over a fifth of the run, then down to zero. author: by epoch, for 250."""
    lr: float = 0.02
    """The learning rate, one_cycle's highest."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout: float = 0.0
    """A factor on the network's dropout rates while it trains; 1 is the author's."""


VARIANTS = {
    "default": Config(),
    "original": Config(
        epochs=250,
        optimizer="adam",
        schedule="author",
        lr=1e-3,
        weight_decay=5e-4,
        label_smoothing=0.0,
        dropout=1.0,
    ),
    "sgd": Config(optimizer="sgd", lr=0.1, weight_decay=5e-4),
    "smoke": Config(data="shapes", epochs=1, limit=256, batch_size=32, compile=False),
}


def build(config: Config, splits: Splits) -> Experiment:
    """Return the experiment of a config."""
    return Experiment(
        model=models.dainet7(
            classes=len(splits.train.classes),
            channels=splits.input_shape[0],
            dropout=tuple(config.dropout * rate for rate in models.DAINET7_DROPOUT),
        ),
        tx=_optimizer(config, steps_per_epoch(len(splits.train), config.batch_size)),
        loss=partial(cross_entropy, label_smoothing=config.label_smoothing),
        preprocess=NORM_CIFAR10,
        augment=compose(random_crop(4), random_flip()),
        learning_rate="muon/learning_rate" if config.optimizer == "muon" else "learning_rate",
        reported={"test accuracy, best epoch": "91.91 % (250 epochs)"},
    )


def _optimizer(config: Config, steps: int) -> optim.GradientTransformation:
    rate = _schedule(config, steps)
    decay = config.weight_decay
    match config.optimizer:
        case "adam":
            return optim.adam(rate(config.lr), b1=0.9, b2=0.99, weight_decay=decay)
        case "sgd":
            return optim.sgd(rate(config.lr), momentum=0.9, nesterov=True, weight_decay=decay)
        case "muon":
            return optim.partition(
                {
                    "muon": optim.muon(rate(config.lr), weight_decay=decay),
                    "adam": optim.adam(rate(config.lr / 4), b1=0.9, b2=0.99),
                },
                lambda path, leaf: "muon" if leaf.dim() == 4 else "adam",
            )


def _schedule(config: Config, steps: int):
    if config.schedule == "author":
        boundaries = {50: 0.5, 100: 0.3, 150: 0.1, 200: 0.01, 230: 0.001}
        return lambda peak: optim.schedules.piecewise(
            peak, {epoch * steps: factor * peak for epoch, factor in boundaries.items()}
        )
    total = config.epochs * steps
    return lambda peak: optim.schedules.one_cycle(peak, total, pct_start=0.2, anneal="linear")


RECIPE = Recipe("dainet7", __doc__ or "", "cifar10", VARIANTS, build)

if __name__ == "__main__":
    cli.run(RECIPE)
