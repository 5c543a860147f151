"""What a recipe describes: the parts of its training, and how they are made of its options."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnet import random
from fnet.data import Augment, Dataset, Preprocess, prepare
from fnet.data.resize import scaled
from fnet.losses import Loss
from fnet.nn import Model, Params, check
from fnet.optim import GradientTransformation, Plateau, get_hyper, hypers, set_hyper
from fnet.run.config import ConfigError
from fnet.run.origin import Origin, of_caller, of_file
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
    """The parts that a recipe puts together, and that `fnet.run.train` runs.

    Attributes:
        model: the network.
        tx: the optimizer.
        loss: of training and evaluation.
        preprocess: of training, evaluation and prediction.
        augment: of training, or None.
        eval_params: `(params, opt_state) -> Params` that are evaluated, kept as best and saved;
            averages of weights override it.
        learning_rate: the name under which `get_hyper` finds the rate to log, and the plateau the
            scale to set beside it. None: the first learning rate of `tx` is logged, and the plateau
            scales all of them.
        plateau: reduces the learning rate after an epoch, by the epoch's train loss, or None.
        fresh_statistics: over how many training batches the statistics of batch norm are taken
            anew for the params that are evaluated, kept as best and saved; 0: those of training.
        sizes: the shorter side of the training images in each of the first epochs; later ones
            train on the images as they are.
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

    def train_step(self, dataset: Dataset, dtype: torch.dtype) -> tuple[Step, Dataset]:
        """Return the step of the training and the images for it, on the device of these.

        Where images are not augmented, what `prepare` can do ahead is done to them here.
        """
        preprocess, dataset = self._for_training(dataset)
        grad_fn = make_grad(
            self.model, self.loss, preprocess=preprocess, augment=self.augment, dtype=dtype
        )
        return make_step(grad_fn, self.tx), dataset

    def statistics(self, dataset: Dataset, dtype: torch.dtype) -> tuple[StatisticsStep, Dataset]:
        """Return what `fresh_statistics` runs, and the images for it, as `train_step` does."""
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
        """Return the step of the evaluation and the images for it, prepared, on their devices."""
        preprocess, prepared = prepare(self.preprocess, *datasets)
        return make_eval(self.model, self.loss, preprocess=preprocess, dtype=dtype), prepared

    def effective_rate(self, opt_state: Tree) -> float:
        """Return the learning rate of the last update, with the scale beside it.

        Raises:
            ValueError: the optimizer has no such learning rate, or no scale beside it.
        """
        name = self._rates(opt_state)[0]
        return float(get_hyper(opt_state, name) * get_hyper(opt_state, _scale_of(name)))

    def with_lr_scale(self, opt_state: Tree, scale: Tensor) -> Tree:
        """Return the state whose learning rate has this scale from now on.

        Raises:
            ValueError: as `effective_rate`.
        """
        for name in self._rates(opt_state):
            opt_state = set_hyper(opt_state, _scale_of(name), scale)
        return opt_state

    def _rates(self, opt_state: Tree) -> list[str]:
        """Return the names of the learning rates, the one to log first."""
        if self.learning_rate is not None:
            return [self.learning_rate]
        names = hypers(opt_state)
        rates = [name for name in names if name.rpartition("/")[2] == "learning_rate"]
        if not rates:
            raise ValueError(
                "the optimizer has no 'learning_rate' to log, only "
                f"{', '.join(names) or 'no hyper-parameters'}: make its last step "
                "scale_by_learning_rate, or name one of these as the experiment's learning_rate"
            )
        return rates


@dataclass(frozen=True)
class Recipe:
    """An experiment that can be run: its name, what it says of itself, its variants.

    Attributes:
        name: what its runs are called.
        doc: the module's docstring.
        data: the data set that `--data auto` stands for.
        variants: configs by name: "default", the network trained as well as fnet can, "author",
            as its author trained it, and others. A second network has its own pair: "pro" and
            "pro-author".
        build: `(config, splits) -> Experiment`, pure.
        reported: the original author's figures by variant and name, to print beside the measured
            ones: "test accuracy, final", "test accuracy, best epoch", "train accuracy, final".
        aliases: variants by names that they had before, which are understood and not listed.
        origin: the module or the file whose code makes the recipe, found by itself.
    """

    name: str
    doc: str
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
    """Return the experiment of a config, once its parts are seen to fit each other and the data.

    Raises:
        ConfigError: an option is out of its range, or the parts do not fit each other: the
            optimizer cannot begin, it has no such learning rate, or none that a plateau can scale.
        ModelError: the network does not fit the images.
    """
    try:
        experiment = recipe.build(config, splits)
        # The options of a tool may have no batch size.
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
    """Check what is first needed at the end of an epoch: better before the run has a directory."""
    params = experiment.model.init(random.key(0))
    opt_state = experiment.tx.init(params.trainable)
    experiment.effective_rate(opt_state)
    if experiment.plateau is not None:
        if not isinstance(experiment.plateau, Plateau):
            raise ValueError(
                f"the experiment's plateau is {experiment.plateau!r}: give optim.plateau(...)"
            )
        scale, _ = experiment.plateau.update(0.0, experiment.plateau.init())
        experiment.with_lr_scale(opt_state, scale)


def _scale_of(learning_rate: str) -> str:
    """Return the name of the scale beside a learning rate.

    >>> _scale_of("muon/learning_rate")
    'muon/lr_scale'
    """
    group, slash, _ = learning_rate.rpartition("/")
    return f"{group}{slash}lr_scale"


def load_recipe(module: str) -> Recipe:
    """Return the `RECIPE` of a module that the user names, which is imported.

    Args:
        module: its name, or the path of its file, ending in `.py`.

    Raises:
        ConfigError: there is no such module, or it is no recipe's.
    """
    file = module.endswith(".py")
    try:
        found = _import_file(module) if file else importlib.import_module(module)
    except (ImportError, ValueError, TypeError, OSError) as error:
        raise ConfigError(
            f"the recipe {module!r} cannot be imported ({error}): give --recipe a module that "
            "Python finds, or a file that ends in .py"
        ) from error
    recipe = getattr(found, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"the module {module!r} has no RECIPE: name the module of a recipe")
    if file and recipe.origin.name == found.__name__:
        return replace(recipe, origin=of_file(module))
    return recipe


def _import_file(file: str) -> Any:
    """Return the module of a file, under a name that no other module has."""
    path = Path(file).resolve()
    name = f"fnet_recipe:{path}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there for the module of their class
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def own_recipe(origin: Origin, path: Path) -> Recipe:
    """Return the recipe that a run names: a record may choose among recipes, not import others.

    Args:
        origin: as recorded.
        path: the run's directory, for the message.

    Raises:
        ConfigError: the module is none of `recipes`, or there is no such recipe.
    """
    if not origin.packaged:
        raise ConfigError(
            f"the run {path} names {origin.name!r} as its recipe, and a run's own choice is "
            f"imported from recipes.* only: where you trust that code, give{origin.recipe_option}"
        )
    return load_recipe(origin.name)


def is_recipe_of(recipe: Recipe, origin: Origin) -> bool:
    """Return whether a run with this recorded origin is one of the recipe.

    Older versions recorded every recipe as `recipes.NAME`: such a run belongs to a recipe of that
    name elsewhere, unless `recipes` has one.
    """
    if recipe.origin.same_place(origin):
        return True
    if recipe.origin.packaged or origin.name != f"recipes.{recipe.name}" or not origin.packaged:
        return False
    try:
        return importlib.util.find_spec(origin.name) is None
    except ImportError:
        return True
