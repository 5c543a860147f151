"""A run opened from its directory, with its weights and without its data.

Nothing in the directory is executed: it is read as JSON and safetensors, and the recipe that it
names is imported from `recipes`, or is a module that the user names.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from fnet import random
from fnet.data import Dataset, Preprocess, Split, load
from fnet.nn import Model, ModelError, Params
from fnet.run.checkpoint import load_weights
from fnet.run.config import Config, ConfigError
from fnet.run.directory import CONFIG, read_setup
from fnet.run.recipe import Experiment, Recipe, load_recipe, own_recipe
from fnet.run.schema import Setup, config_from_json, preprocess_from_json
from fnet.run.splits import Splits

Weights = Literal["best", "final"]
"""The weights of the best epoch, or those last reached."""


@dataclass(frozen=True)
class Run:
    """A run that has weights.

    Attributes:
        path: its directory.
        setup: its `config.json`.
        recipe: the recipe it is a run of.
        config: the recipe's config, complete.
        experiment: what the recipe builds of the config; `preprocess` is the recorded one.
        weights: which of its weights `params` are.
        params: the parameters, in evaluation as in prediction.
        classes: their names, in the order of the logits.
        input_shape: (C, H, W) of the images.
        data: the name of the data set it was trained on.
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
        """From uint8 images to what the network sees, as in training."""
        return self.experiment.preprocess

    @property
    def own_data(self) -> str:
        """The name or the folder of the data set it was trained on."""
        return self.data if self.config.data == "auto" else self.config.data

    def open_data(self, name: str | None, root: str | None, split: Split) -> Dataset:
        """Return images for the run's network, once they are seen to be of its kind.

        Args:
            name: the data set, by name or as a folder; None: the run's own.
            root: the directory that holds published data sets; None: the run's.
            split: which of its images.

        Raises:
            ConfigError: their classes or their shape are not the run's.
            DataError: the data cannot be had.
        """
        dataset = load(
            name or self.own_data,
            root or self.config.root,
            split=split,
            skip_broken=self.config.skip_broken,
        )
        shape = tuple(dataset.images.shape[1:])
        for what, given, expected in (
            ("classes", dataset.classes, self.classes),
            ("images of shape", shape, self.input_shape),
        ):
            if given != expected:
                raise ConfigError(
                    f"the run {self.path} is evaluated on {what} {_list(expected)}, and "
                    f"{dataset.name} has {_list(given)}: give --data of the same kind"
                )
        return dataset


def open_run(
    path: Path | str,
    weights: Weights = "best",
    *,
    recipe: str | None = None,
    device: torch.device | str = "cpu",
) -> Run:
    """Return the run in a directory that `fnet.run.train` wrote, with weights on the device.

    Args:
        path: the run's directory.
        weights: "best" or "final".
        recipe: the module of its recipe, where that is not the one that the run names.
        device: where the parameters are put.

    Raises:
        ConfigError: there is no run, it has no such weights, or they do not fit it; its record is
            damaged; its recipe cannot be had or has other options by now.
    """
    path = Path(path)
    setup = read_setup(path)
    found = load_recipe(recipe) if recipe else own_recipe(setup.origin, path)
    config = config_from_json(type(found.variants["default"]), setup.config)
    splits = _splits(setup)
    try:
        experiment = found.build(config, splits)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"recipe {found.name} cannot build the run {path}: {error}") from error
    try:
        preprocess = preprocess_from_json(setup.preprocess, experiment.preprocess)
    except ValueError as error:
        raise ConfigError(
            f"{path / CONFIG} has a preprocess that fnet does not know (it {error}), and not that "
            "of its recipe: open the run with the recipe that made it, or train again"
        ) from error
    experiment = replace(experiment, preprocess=preprocess)
    return Run(
        path=path,
        setup=setup,
        recipe=found,
        config=config,
        experiment=experiment,
        weights=weights,
        params=_read_weights(path, weights, experiment.model.init(random.key(0, device))),
        classes=splits.train.classes,
        input_shape=splits.input_shape,
        data=splits.train.name,
    )


def _splits(setup: Setup) -> Splits:
    """Return stand-ins for the run's images: as many, of its shape, in next to no memory."""

    def blank(n: int) -> Dataset:
        # Not all of one value: a recipe may divide by the deviation of its images.
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
            f"the run {path} has no {weights} weights, but has {others[0]} weights: give "
            f"--weights {others[0]}"
            if others
            else f"the run {path} has no weights: it was stopped before the first were saved, or "
            "its first epoch goes on; train again, or wait"
        )
    try:
        return load_weights(file, like)
    except ModelError as error:
        raise ConfigError(f"the {weights} weights of the run {path} are no use: {error}") from error


def _list(values: tuple[object, ...]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return f"({shown}, ...)" if len(values) > 10 else f"({shown})"
