"""A run opened from its run directory, with its weights but without its data.

Nothing in the directory is executed: its files are JSON and safetensors. The recipe is imported
from `recipes`, or from a module that the user gives.
"""

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from fnet import random
from fnet.data import Dataset, DataWarning, Preprocess, Split, load
from fnet.data.fit import Fit
from fnet.data.load import is_divided
from fnet.nn import Model, ModelError, Params
from fnet.run.checkpoint import load_weights
from fnet.run.config import Config, ConfigError
from fnet.run.directory import CONFIG, read_setup
from fnet.run.loading import load_recipe, own_recipe
from fnet.run.preprocess_json import preprocess_from_json
from fnet.run.recipe import Experiment, Recipe
from fnet.run.schema import Setup, config_from_json
from fnet.run.splits import Splits, load_options, reduced, require_in_place

Weights = Literal["best", "final"]
"""The weights of the best epoch, or the final ones."""


@dataclass(frozen=True)
class Run:
    """A run with its weights.

    Attributes:
        path: the run directory.
        setup: the content of `config.json`.
        recipe: the recipe of the run.
        config: the complete config.
        experiment: what the recipe builds from the config; `preprocess` is the recorded one.
        weights: which weights `params` are.
        params: the parameters for evaluation and prediction.
        classes: the names of the classes, in the order of the logits.
        input_shape: (C, H, W) of the images.
        data: the name of the data set that the run was trained on.
    """

    path: Path
    setup: Setup
    recipe: Recipe
    config: Config
    experiment: Experiment
    weights: Weights
    params: Params
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    data: str

    @property
    def model(self) -> Model:
        """The network."""
        return self.experiment.model

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of uint8 images, the same as in training."""
        return self.experiment.preprocess

    @property
    def fit(self) -> Fit:
        """How an image of another size is made to fit, as in training."""
        return self.config.fit if self.config.size else "stretch"

    @property
    def own_data(self) -> str:
        """The name or the folder of the data set that the run was trained on."""
        return self.data if self.config.data == "auto" else self.config.data

    def open_data(self, name: str | None, root: str | None, split: Split) -> Dataset:
        """Return images for the run's network; check their classes and shape.

        Args:
            name: the name or the folder of a data set; None: the run's own. A folder without a
                split is divided as in the run; if the run's data had a split, all its images are
                test images.
            root: the directory of the published data sets; None: the run's.
            split: "train" or "test".

        Raises:
            ConfigError: the classes or the shape of the images are not those of the run.
            DataError: the data are not available, or not as expected.
        """
        if name is None:
            require_in_place(self.config, self.path)
        chosen = name or self.own_data
        options = load_options(self.config)
        if is_divided(chosen):
            options["test"] = None
        elif options["test"] is None:
            options["test"] = 1.0  # no image of this folder was trained on

        def part(split: Split) -> Dataset:
            return load(chosen, root or self.config.root, split=split, **options)

        dataset = part(split)
        if self.config.test is not None and options["test"] is not None:
            _warn_if_changed(self, part("train"), part("test"))
        if dataset.images.shape[1] == 1 and dataset.images.shape[2:] == self.input_shape[1:]:
            dataset = dataset.with_channels(self.input_shape[0])
        shape = tuple(dataset.images.shape[1:])
        for what, given, expected in (
            ("classes", dataset.classes, self.classes),
            ("images of shape", shape, self.input_shape),
        ):
            if given != expected:
                raise ConfigError(
                    f"the run {self.path} needs {what} {listed(expected)}, but {dataset.name} has "
                    f"{listed(given)}: give another data set with --data"
                )
        return dataset


def open_run(
    path: Path | str,
    weights: Weights = "best",
    *,
    recipe: str | None = None,
    device: torch.device | str = "cpu",
) -> Run:
    """Return the run in a run directory, with its weights on the device.

    Args:
        path: the run directory.
        weights: "best" or "final".
        recipe: the module or file of the recipe; None: the one in the run's record.
        device: the device of the parameters.

    Raises:
        ConfigError: there is no run, it has no such weights, or they do not fit the network; its
            record is damaged; its recipe cannot be imported or has other options now.
    """
    path = Path(path)
    setup = read_setup(path)
    found = load_recipe(recipe) if recipe else own_recipe(setup.origin, path)
    config, experiment = build_recorded(path, setup, found)
    return Run(
        path=path,
        setup=setup,
        recipe=found,
        config=config,
        experiment=experiment,
        weights=weights,
        params=_read_weights(path, weights, experiment.model.init(random.key(0, device))),
        classes=setup.classes,
        input_shape=setup.input_shape,
        data=setup.data,
    )


def build_recorded(path: Path, setup: Setup, recipe: Recipe) -> tuple[Config, Experiment]:
    """Return the config of a recorded run, and the experiment that its recipe builds without data.

    Args:
        path: the run's directory, for messages.
        setup: its `config.json`.
        recipe: the run's.

    Raises:
        ConfigError: the recipe has other options by now, or cannot build the run.
    """
    config = config_from_json(type(recipe.variants["default"]), setup.config)
    splits = _splits(setup)
    try:
        experiment = recipe.build(config, splits)
    except (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"the recipe {recipe.name} cannot build the network of the run {path}: {error}"
        ) from error
    try:
        preprocess = preprocess_from_json(setup.preprocess, experiment.preprocess)
    except ValueError as error:
        raise ConfigError(
            f"{path / CONFIG} has a preprocess that is neither one of fnet (it {error}) nor that "
            "of the recipe: open the run with the recipe that trained it, or train again"
        ) from error
    return config, replace(experiment, preprocess=preprocess)


def _warn_if_changed(run: Run, train: Dataset, test: Dataset) -> None:
    """Warn if a folder without a split is no longer that of the run: its split may be another."""
    channels = run.input_shape[0]
    try:
        splits = Splits(train.with_channels(channels), test.with_channels(channels))
        same = reduced(run.config, splits).has_checksum(run.setup.data_checksum)
    except (ConfigError, ValueError):
        same = False
    if not same:
        warnings.warn(
            f"the images of {train.name} are not those that the run {run.path} was trained on, so "
            "--test divides them in another way: the network may have been trained on some of the "
            "images that it is now tested on.",
            DataWarning,
            stacklevel=3,
        )


def _splits(setup: Setup) -> Splits:
    """Return placeholders for the run's images: same number and shape, expanded with stride 0."""

    def blank(n: int) -> Dataset:
        # Not constant: a recipe may divide by the standard deviation of its images.
        row = torch.arange(setup.input_shape[2]).to(torch.uint8)
        labels = torch.zeros(1, dtype=torch.int64)
        images = row.expand(n, *setup.input_shape)
        return Dataset(images, labels.expand(n), setup.classes, setup.data)

    return Splits(blank(setup.train_images), blank(setup.test_images))


def _read_weights(path: Path, weights: Weights, like: Params) -> Params:
    file = path / f"{weights}.safetensors"
    if not os.path.lexists(file):
        others = [w for w in ("best", "final") if os.path.lexists(path / f"{w}.safetensors")]
        raise ConfigError(
            f"the run {path} has no {weights} weights, but {others[0]} weights: give "
            f"--weights {others[0]}"
            if others
            else f"the run {path} has no weights: it was stopped before the first were saved, or "
            "is still in its first epoch; train again, or wait"
        )
    try:
        return load_weights(file, like)
    except ModelError as error:
        raise ConfigError(
            f"the {weights} weights of the run {path} cannot be used: {error}"
        ) from error


def listed(values: tuple[object, ...]) -> str:
    """Return values for a message, at most ten of them."""
    shown = ", ".join(map(str, values[:10]))
    return f"({shown}, ...)" if len(values) > 10 else f"({shown})"
