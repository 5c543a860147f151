"""What a recipe describes: its options, its data, and the parts of its training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fnet.data import Augment, Dataset, Normalize
from fnet.environment import ConfigError, Precision
from fnet.losses import Loss
from fnet.nn import Model, Params
from fnet.optim import GradientTransformation
from fnet.tree import Tree


@dataclass(frozen=True)
class Config:
    """Options common to all recipes."""

    data: str = "auto"
    """auto (the recipe's data set, or where it cannot be had a short run on "shapes"), a name, or
    a folder with train/<class>/* and test/<class>/*."""
    root: str | None = None
    """The directory that holds published data sets (else $FNET_DATA, else the cache directory)."""
    out: str = "runs"
    """The directory in which the run gets a directory of its own."""
    epochs: int = 10
    """How many times to go through the training images."""
    batch_size: int = 128
    """Images in a training batch."""
    seed: int = 0
    """The seed of everything random."""
    limit: int | None = None
    """How many training images to use (all by default), each class in proportion."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """Of the forward and backward pass; auto is bf16 where the device gains from it."""
    compile: bool = True
    """Compile the steps, where there is a C++ compiler."""

    def validate(self) -> None:
        """Check what can be checked without data.

        Raises:
            ConfigError: an option is out of its range.
        """
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{option(name)} is at least 1; got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is at least 1; got {self.limit}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is between 0 and {2**32 - 1}; got {self.seed}")


def option(name: str) -> str:
    """Return the command-line option of a config field.

    >>> option("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Splits:
    """The images to train on and the images to test on."""

    train: Dataset
    test: Dataset

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Experiment:
    """The parts that a recipe puts together, and that `fnet.train` runs.

    Attributes:
        model: the network.
        tx: the optimizer.
        loss: of training and evaluation.
        preprocess: of training, evaluation and prediction.
        augment: of training, or None.
        eval_params: `(params, opt_state) -> Params` that are evaluated, kept as best and saved;
            averages of weights override it.
        learning_rate: the name under which `get_hyper` finds the rate to log.
        reported: figures of the original author by name, to print beside the measured ones.
    """

    model: Model
    tx: GradientTransformation
    loss: Loss
    preprocess: Normalize
    augment: Augment | None = None
    eval_params: Callable[[Params, Tree], Params] = lambda params, opt_state: params
    learning_rate: str = "learning_rate"
    reported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """An experiment that can be run: its name, what it says of itself, its variants.

    Attributes:
        name: as in `python -m recipes.name`.
        doc: the module's docstring.
        data: the data set that `--data auto` stands for.
        variants: configs by name; "default" is the one a user wants first.
        build: `(config, splits) -> Experiment`, pure.
    """

    name: str
    doc: str
    data: str
    variants: Mapping[str, Any]
    build: Callable[[Any, Splits], Experiment]
