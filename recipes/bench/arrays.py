"""The images and labels of a benchmark on disk: written once, read by each contender."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fnet.data import Dataset, Preprocess
from fnet.run.loading import load_recipe
from fnet.run.recipe import Experiment
from fnet.run.splits import Splits
from recipes.bench.work import ArrayName, Work

_CHUNK = 500


def save_arrays(folder: Path, splits: Splits, preprocess: Preprocess) -> None:
    """Write the arrays that `Work.load` reads."""

    def save(name: ArrayName, array: Tensor) -> None:
        np.save(folder / f"{name}.npy", array.numpy())

    save("train_images", _channels_last(splits.train.images))
    save("train_labels", splits.train.labels)
    save("test_images", _channels_last(splits.test.images))
    save("test_labels", splits.test.labels)
    parts = [_channels_last(preprocess(part)) for part in splits.train.images.split(_CHUNK)]
    save("inputs", torch.cat(parts))


def open_work(work: Work) -> tuple[Experiment, Splits]:
    """Return the experiment that the recipe builds, and its data, on the CPU."""
    splits = Splits(
        _dataset(work, "train_images", "train_labels"), _dataset(work, "test_images", "test_labels")
    )
    return load_recipe(work.recipe).build(open_config(work), splits), splits


def open_config(work: Work) -> Any:
    """Return the config of the row's recipe and variant."""
    return load_recipe(work.recipe).variants[work.variant]


def _channels_last(images: Tensor) -> Tensor:
    """Return images `[N, C, H, W]` as `[N, H, W, C]`."""
    return images.permute(0, 2, 3, 1)


def _dataset(work: Work, images: ArrayName, labels: ArrayName) -> Dataset:
    return Dataset(
        torch.from_numpy(work.load(images)).permute(0, 3, 1, 2),
        torch.from_numpy(work.load(labels)),
        tuple(map(str, range(work.classes))),
        load_recipe(work.recipe).data,  # the author's, and so the author's normalisation
    )
