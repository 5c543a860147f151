"""What a recipe describes: the parts of its training, and how they are made of its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fnet.data import Augment, Preprocess
from fnet.losses import Loss
from fnet.nn import Model, Params
from fnet.optim import GradientTransformation, Plateau
from fnet.splits import Splits
from fnet.tree import Tree


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
        plateau: reduces the learning rate after an epoch, by the epoch's train loss, or None.
    """

    model: Model
    tx: GradientTransformation
    loss: Loss
    preprocess: Preprocess
    augment: Augment | None = None
    eval_params: Callable[[Params, Tree], Params] = lambda params, opt_state: params
    learning_rate: str = "learning_rate"
    plateau: Plateau | None = None


@dataclass(frozen=True)
class Recipe:
    """An experiment that can be run: its name, what it says of itself, its variants.

    Attributes:
        name: as in `python -m recipes.name`.
        doc: the module's docstring.
        data: the data set that `--data auto` stands for.
        variants: configs by name; "default" is the one a user wants first.
        build: `(config, splits) -> Experiment`, pure.
        reported: the original author's figures by variant and name, to print beside the measured
            ones: "test accuracy, final", "test accuracy, best epoch", "train accuracy, final".
    """

    name: str
    doc: str
    data: str
    variants: Mapping[str, Any]
    build: Callable[[Any, Splits], Experiment]
    reported: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
