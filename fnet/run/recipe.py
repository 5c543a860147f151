"""A recipe: its options, and the experiment that it builds from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fnet.data import Augment, Dataset, Preprocess, prepare
from fnet.data.resize import scaled
from fnet.losses import Loss
from fnet.nn import Model, Params, check
from fnet.nn.check import network_of
from fnet.optim import GradientTransformation, Plateau
from fnet.parallel import mean_over_processes, total_over_processes
from fnet.run.config import ConfigError
from fnet.run.learning_rate import effective_rate, with_lr_scale
from fnet.run.origin import Origin, of_caller
from fnet.run.splits import Splits
from fnet.step import (
    EvalStep,
    StatisticsStep,
    Step,
    make_eval,
    make_grad,
    make_statistics,
    make_step,
)
from fnet.tree import Tree


@dataclass(frozen=True)
class Experiment:
    """The parts of a training, built by a recipe and run by `fnet.run.train`.

    Attributes:
        model: the network.
        tx: the optimizer.
        loss: the loss of training and evaluation.
        preprocess: the preprocessing of training, evaluation and prediction.
        augment: the augmentation of the training images, or None.
        eval_params: `(params, opt_state) -> Params`, the parameters to evaluate and to save as best
            and final; averages of weights override it.
        learning_rate: the name of the learning rate in `get_hyper`, to log and to scale on a
            plateau. None: the first learning rate of `tx` is logged, all are scaled.
        plateau: reduces the learning rate after an epoch, depending on its train loss, or None.
        fresh_statistics: the number of training batches on which the statistics of batch norm are
            recomputed for the parameters to evaluate and to save; 0: those of the training.
        sizes: the shorter side of the training images in each of the first epochs; later epochs,
            and the last one in any case, use the images as they are.
        frozen: the names of the weights that `tx` does not train.
    """

    model: Model
    tx: GradientTransformation
    loss: Loss
    preprocess: Preprocess
    augment: Augment | None = None
    eval_params: Callable[[Params, Tree], Params] = lambda params, opt_state: params
    learning_rate: str | None = None
    plateau: Plateau | None = None
    fresh_statistics: int = 0
    sizes: tuple[int, ...] = ()
    frozen: frozenset[str] = frozenset()

    def train_step(
        self, dataset: Dataset, dtype: torch.dtype, *, sync_batch_norm: bool = False
    ) -> tuple[Step, Dataset]:
        """Return the training step and the images for it, on the same device.

        If there is no augmentation, the images are already prepared as far as `prepare` can. In a
        process group, each process computes its part of a batch (`mean_over_processes`).
        """
        preprocess, dataset = self._for_training(dataset)
        grad_fn = make_grad(
            self.model, self.loss, preprocess=preprocess, augment=self.augment, dtype=dtype
        )
        grad_fn = mean_over_processes(grad_fn, sync_batch_norm=sync_batch_norm)
        return make_step(grad_fn, self.tx), dataset

    def statistics(self, dataset: Dataset, dtype: torch.dtype) -> tuple[StatisticsStep, Dataset]:
        """Return the step that recomputes batch norm's statistics, and the images for it."""
        preprocess, dataset = self._for_training(dataset)
        forward = make_statistics(
            self.model, preprocess=preprocess, augment=self.augment, dtype=dtype
        )
        return forward, dataset

    def _for_training(self, dataset: Dataset) -> tuple[Preprocess, Dataset]:
        preprocess = self.preprocess
        if self.augment is None:
            preprocess, (dataset,) = prepare(preprocess, dataset)
        return preprocess, dataset

    def eval_step(self, *datasets: Dataset, dtype: torch.dtype) -> tuple[EvalStep, list[Dataset]]:
        """Return the evaluation step and the prepared images for it, on the same devices.

        In a process group, each process computes its part of a batch (`total_over_processes`).
        """
        preprocess, prepared = prepare(self.preprocess, *datasets)
        step = make_eval(self.model, self.loss, preprocess=preprocess, dtype=dtype)
        return total_over_processes(step), prepared


@dataclass(frozen=True)
class Recipe:
    """A family of experiments that can be run from the command line.

    Attributes:
        name: the name of the recipe, which begins the names of its run directories.
        doc: the module's docstring, for `--help`; None with `python -OO`.
        data: the data set for `--data auto`.
        variants: configs by name. "default", fnet's own training of the network, is used
            without `--variant`; "author" trains it as its author did. A second network has its own
            pair: "pro" and "pro-author".
        build: `(config, splits) -> Experiment`, pure.
        reported: the original author's figures by variant and name, to print next to the measured
            ones: "test accuracy, final", "test accuracy, best epoch", "train accuracy, final".
        aliases: today's names of variants by their names in older versions.
        origin: the module or the file that creates the recipe; found automatically.
    """

    name: str
    doc: str | None
    data: str
    variants: Mapping[str, Any]
    build: Callable[[Any, Splits], Experiment]
    reported: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=of_caller)

    def variant(self, name: str) -> str:
        """Return the name that a variant has today."""
        return self.aliases.get(name, name)


def build_experiment(recipe: Recipe, config: Any, splits: Splits) -> Experiment:
    """Return the experiment of a config; check that its parts fit each other and the data.

    Raises:
        ConfigError: an option is out of its range, or the parts do not fit each other: the
            optimizer does not accept the parameters, it has no such learning rate, or none that a
            plateau can scale.
        ModelError: the network does not fit the images.
    """
    try:
        experiment = recipe.build(config, splits)
        # A config without a batch size is possible.
        size = getattr(config, "batch_size", 2)
        classes = check(experiment.model, splits.input_shape, batch_size=size)
        for side in sorted(set(experiment.sizes)):
            channels, height, width = splits.input_shape
            smaller = scaled((height, width), side)
            check(experiment.model, (channels, *smaller), batch_size=size)
        experiment.loss(torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64))
        experiment.preprocess(splits.train.images[:1])
        _check_optimizer(experiment)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return experiment


def _check_optimizer(experiment: Experiment) -> None:
    """Check, before a run directory is created, what is first used at the end of an epoch."""
    # Zeros, because to draw the weights may take seconds.
    shapes = network_of(experiment.model).shapes
    opt_state = experiment.tx.init({path: torch.zeros(shape) for path, shape in shapes.items()})
    effective_rate(opt_state, experiment.learning_rate)
    if experiment.plateau is not None:
        if not isinstance(experiment.plateau, Plateau):
            raise ValueError(
                f"the experiment's plateau is {experiment.plateau!r}: give optim.plateau(...)"
            )
        scale, _ = experiment.plateau.update(0.0, experiment.plateau.init())
        with_lr_scale(opt_state, scale, experiment.learning_rate)
