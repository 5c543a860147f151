"""What a recipe describes: the parts of its training, and how they are made of its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fnet.data import Augment, Dataset, Preprocess, prepare
from fnet.environment import ConfigError
from fnet.losses import Loss
from fnet.nn import Model, Params, check
from fnet.optim import GradientTransformation, Plateau, get_hyper, set_hyper
from fnet.splits import Splits
from fnet.step import EvalStep, Step, make_eval, make_grad, make_step
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

    def train_step(self, dataset: Dataset, dtype: torch.dtype) -> tuple[Step, Dataset]:
        """Return the step of the training and the images for it, on the device of these.

        Where images are not augmented, what `prepare` can do ahead is done to them here.
        """
        preprocess = self.preprocess
        if self.augment is None:
            preprocess, (dataset,) = prepare(preprocess, dataset)
        grad_fn = make_grad(
            self.model, self.loss, preprocess=preprocess, augment=self.augment, dtype=dtype
        )
        return make_step(grad_fn, self.tx), dataset

    def eval_step(self, *datasets: Dataset, dtype: torch.dtype) -> tuple[EvalStep, list[Dataset]]:
        """Return the step of the evaluation and the images for it, prepared, on their devices."""
        preprocess, prepared = prepare(self.preprocess, *datasets)
        return make_eval(self.model, self.loss, preprocess=preprocess, dtype=dtype), prepared

    def effective_rate(self, opt_state: Tree) -> float:
        """Return the learning rate of the last update, with the scale beside it."""
        scale = get_hyper(opt_state, self._lr_scale)
        return float(get_hyper(opt_state, self.learning_rate) * scale)

    def with_lr_scale(self, opt_state: Tree, scale: Tensor) -> Tree:
        """Return the state whose learning rate has this scale from now on."""
        return set_hyper(opt_state, self._lr_scale, scale)

    @property
    def _lr_scale(self) -> str:
        """The name of the scale beside the learning rate: "muon/lr_scale"."""
        group, slash, _ = self.learning_rate.rpartition("/")
        return f"{group}{slash}lr_scale"


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


def build_experiment(recipe: Recipe, config: Any, splits: Splits) -> Experiment:
    """Return the experiment of a config, once its parts are seen to fit each other and the data.

    Raises:
        ConfigError: an option is out of its range.
        ModelError: the network does not fit the images.
    """
    try:
        experiment = recipe.build(config, splits)
        # The options of a tool may have no batch size.
        size = getattr(config, "batch_size", 2)
        classes = check(experiment.model, splits.input_shape, batch_size=size)
        experiment.loss(torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64))
        experiment.preprocess(splits.train.images[:1])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return experiment
