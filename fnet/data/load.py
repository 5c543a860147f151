"""The function `load`: a data set by its name, or from a folder of images."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fnet import random
from fnet.data.dataset import DataError, Dataset, printable, stratified
from fnet.data.files.cache import Arrays, cached, user_cache
from fnet.data.files.decode_many import Progress
from fnet.data.files.folder import Reading, load_folder
from fnet.data.files.layout import has_split
from fnet.data.fit import Fit, fit_to
from fnet.data.resize import AT_ONCE
from fnet.data.shapes import CLASSES, VERSION, draw

Split = Literal["train", "test"]

PUBLISHED = ("cifar10", "cifar100", "mnist", "fashion_mnist", "fer2013")
"""The data sets that torchvision reads."""

SHAPES = {"train": (0, 10_000), "test": (1, 2_000)}
"""The seed of the key and the number of images of the data set "shapes", for each split."""


def data_dir(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the data directory: `root`, else `FNET_DATA`, else one in the user's cache directory.

    >>> data_dir("/data").name
    'data'
    """
    chosen = root or os.environ.get("FNET_DATA")
    return expanded(chosen) if chosen else user_cache("data")


def load(
    name_or_path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    split: Split = "train",
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    test: float | None = None,
    key: Tensor | None = None,
    limit: int | None = None,
    on_progress: Progress | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Return a data set on the CPU.

    | name | images | train | test |
    | --- | --- | --- | --- |
    | "cifar10", "cifar100" | 3 x 32 x 32 | 50,000 | 10,000 |
    | "mnist", "fashion_mnist" | 1 x 28 x 28 | 60,000 | 10,000 |
    | "fer2013" (not downloaded) | 1 x 48 x 48 | 28,709 | 7,178 |
    | "shapes" (generated) | 3 x 32 x 32 | 10,000 | 2,000 |
    | a folder with train/class/image and test/class/image (or val) | as they are | | |
    | a folder with class/image, divided by `test` and `key` | as they are | | |
    | a folder with class/Training_*, class/PublicTest_*, class/PrivateTest_* | as they are | | |

    Published data sets are downloaded by torchvision unless their files are in the data directory
    (see `data_dir`). Published data sets and folders are decoded once, into a cache (see
    `fnet.data.files.cache`), and memory-mapped from there. Files of a folder that are no images by
    name (Thumbs.db, notes.txt) are passed over and listed in `Dataset.ignored`. A `DataWarning`
    says if a class has no image to train or to test on, or if there is only one class.

    FER2013 needs a log-in at Kaggle: put its fer2013.csv or icml_face_data.csv into the folder
    fer2013 of the data directory (train.csv is enough for training). The test split is PublicTest
    and PrivateTest together, as in torchvision; so it is in a folder of the last kind, in which
    every file name begins with one of the three prefixes.

    Args:
        name_or_path: a name in the table, or a folder ("./mnist" for a folder called "mnist").
        root: the data directory; folders and "shapes" do not need it.
        split: "train" or "test".
        size: resize the images to this height and width. Without it, all images of a folder must
            have one size.
        fit: how the images are resized: "crop", "pad" or "stretch", see `fnet.data.fit`.
        test: for a folder of class folders without a split, the fraction of the images of each
            class in the test split (1: all).
        key: chooses the test images of such a folder, int64 `[2]`; None: `random.key(0)`.
        limit: at most this many images: those of `take(limit)`, but the others are not decoded.
        on_progress: called with the number of decoded files of a folder, and their total.
        skip_broken: skip the broken files of a folder (unreadable, not an image, damaged) and list
            them in `Dataset.skipped`, instead of raising an error.

    Raises:
        DataError: the data are not available, or not as expected; the message names the file.
        ValueError: the split is neither "train" nor "test".

    >>> dataset = load("shapes", split="test")
    >>> len(dataset), dataset.classes[:3]
    (2000, ('circle', 'ring', 'square'))
    """
    if split not in SHAPES:
        raise ValueError(f'split is "train" or "test", got {split!r}')
    if name_or_path == "shapes":
        return _fitted(_shapes(split, limit), size, fit)
    if name_or_path in PUBLISHED:
        # Here, because torchvision takes seconds to import.
        from fnet.data.files.published import load_source

        name = str(name_or_path)
        loaded = _dataset(load_source(name, data_dir(root), split), name)
        if limit is not None and limit < len(loaded):
            loaded = loaded.take(limit)
        return _fitted(loaded, size, fit)
    folder = expanded(name_or_path)
    if not os.path.exists(folder):
        raise DataError(
            f"There is no data set {str(name_or_path)!r}, and no folder of that name "
            "(or you have no permission to read it). "
            f"Give one of {', '.join([*PUBLISHED, 'shapes'])}, or a folder with train and test, or "
            "with the folders of the classes, in it."
        )
    reading = Reading(size, fit, skip_broken, test, key, limit)
    arrays, ignored = load_folder(folder, split, reading, on_progress)
    return replace(_dataset(arrays, printable(folder.resolve().name)), ignored=ignored)


def at_hand(
    name_or_path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    split: Split = "train",
) -> bool:
    """Return whether `load` finds the data set without a download.

    >>> at_hand("shapes"), at_hand("/no/such/folder")
    (True, False)
    """
    if name_or_path in PUBLISHED:
        from fnet.data.files.published import find_files

        return find_files(str(name_or_path), data_dir(root), split) is not None
    return name_or_path == "shapes" or os.path.exists(expanded(name_or_path))


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with a leading "~" expanded: the shell does not expand it in `--out=~`.

    >>> expanded("~/runs") == Path.home() / "runs"
    True
    """
    # Path.expanduser raises an error if the user in "~user" is unknown.
    return Path(os.path.expanduser(path))


def is_folder(name_or_path: str | os.PathLike[str]) -> bool:
    """Return whether this is the path of a folder, and not the name of a data set.

    >>> is_folder("cifar10"), is_folder("./cifar10")
    (False, True)
    """
    return name_or_path not in (*PUBLISHED, "shapes")


def is_divided(name_or_path: str | os.PathLike[str]) -> bool:
    """Return whether a data set has a split, so that `load` needs no `test`.

    >>> is_divided("shapes")
    True
    """
    return not is_folder(name_or_path) or has_split(expanded(name_or_path))


def _shapes(split: str, limit: int | None) -> Dataset:
    """Return the generated data set; of a sample, the other images are not drawn."""
    seed, n = SHAPES[split]
    index = torch.arange(n)
    if limit is not None and limit < n:
        index = stratified(index % len(CLASSES), len(CLASSES))[:limit].sort().values

    def drawn() -> Arrays:
        dataset = draw(random.key(seed), index)
        images = dataset.images.permute(0, 2, 3, 1).numpy()
        return Arrays(images, dataset.labels.numpy(), dataset.classes)

    return _dataset(cached(f"shapes, {split} of {len(index)}", [(VERSION,)], drawn), "shapes")


def _fitted(dataset: Dataset, size: tuple[int, int] | None, fit: Fit) -> Dataset:
    if size is None or size == dataset.images.shape[-2:]:
        return dataset
    parts = [fit_to(part, size, fit) for part in dataset.images.split(AT_ONCE)]
    images = torch.cat(parts).contiguous(memory_format=torch.channels_last)
    return replace(dataset, images=images)


def _dataset(arrays: Arrays, name: str) -> Dataset:
    images = torch.from_numpy(arrays.images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(arrays.labels)
    return Dataset(images, labels, arrays.classes, name, arrays.skipped, files=arrays.files)
