"""The published data sets, downloaded, checked and parsed by torchvision."""

import threading
import urllib.request
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import PickleError
from typing import Any

import numpy as np
from torchvision import datasets

from fnet.data.cache import Arrays, cached
from fnet.data.dataset import DataError

PROBE_SECONDS = 5.0

# What torchvision's parsers raise on a file that is cut short or not theirs.
_DAMAGED = (OSError, ValueError, RuntimeError, AssertionError, LookupError, EOFError, PickleError)


@dataclass(frozen=True)
class Source:
    """A data set of torchvision's.

    Attributes:
        make: torchvision's class.
        folder: where its files lie under the data directory.
        files: for each split the sets of files it can be read from, the preferred one first.
        url: what torchvision downloads first, or the page that has the files.
        downloads: whether torchvision downloads the files; if not, the user does.
    """

    make: Any
    folder: str
    files: Mapping[str, tuple[tuple[str, ...], ...]]
    url: str
    downloads: bool = True


def _cifar(make: type[datasets.CIFAR10]) -> Source:
    names = [name for name, _ in (*make.train_list, *make.test_list)]
    every = (*names, make.meta["filename"])  # torchvision checks all of them for either split
    return Source(make, make.base_folder, {"train": (every,), "test": (every,)}, make.url)


def _mnist(make: type[datasets.MNIST]) -> Source:
    every = tuple(
        f"{split}-{kind}-ubyte"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    url = make.mirrors[0] + make.resources[0][0]
    return Source(make, f"{make.__name__}/raw", {"train": (every,), "test": (every,)}, url)


class FER2013(datasets.FER2013):
    """torchvision's FER2013, with the arguments and the attributes of its other data sets."""

    classes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

    def __init__(self, root: str, train: bool = True, download: bool = False):
        """Read a split; torchvision cannot download it."""
        super().__init__(root, split="train" if train else "test")
        images, self.targets = zip(*self, strict=True)
        self.data = np.stack([np.asarray(image) for image in images])


def _fer2013() -> Source:
    # test.csv has no labels.
    whole = (("fer2013.csv",), ("icml_face_data.csv",))
    files = {"train": (*whole, ("train.csv",)), "test": whole}
    url = (
        "https://www.kaggle.com/c/"
        "challenges-in-representation-learning-facial-expression-recognition-challenge"
    )
    return Source(FER2013, "fer2013", files, url, downloads=False)


SOURCES = {
    "cifar10": _cifar(datasets.CIFAR10),
    "cifar100": _cifar(datasets.CIFAR100),
    "mnist": _mnist(datasets.MNIST),
    "fashion_mnist": _mnist(datasets.FashionMNIST),
    "fer2013": _fer2013(),
}


def find_files(name: str, root: Path, split: str) -> tuple[str, ...] | None:
    """Return the files that a published data set is read from, None where some are not there."""
    source = SOURCES[name]
    folder = root / source.folder
    return next((c for c in source.files[split] if all((folder / f).is_file() for f in c)), None)


def load_source(name: str, root: Path, split: str) -> Arrays:
    """Return a published data set, from the cache, from files under `root`, or downloaded there.

    No network is touched if the files are there, laid out as torchvision lays them out.

    Args:
        name: one of `SOURCES`.
        root: the data directory.
        split: "train" or "test".

    Raises:
        DataError: the files are not there and cannot be downloaded, or they are damaged.
    """
    source = SOURCES[name]
    folder = root / source.folder
    choices = source.files[split]
    files = find_files(name, root, split)
    if files is None:
        if not source.downloads:
            names = " or ".join(", ".join(choice) for choice in choices)
            raise DataError(
                f"The {split} split of {name} is read from {names}, and {folder} has none of them. "
                f"Get one from {source.url} (it cannot be downloaded for you) and put it there."
            )
        _download(source, name, root)
        files = choices[0]

    def build() -> Arrays:
        try:
            with warnings.catch_warnings():
                # The pickles of CIFAR write a dtype in a way that NumPy has come to deprecate.
                warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
                data = source.make(str(root), train=split == "train", download=False)
            images = np.asarray(data.data).reshape(len(data), *data.data.shape[1:3], -1)
            labels = np.asarray(data.targets, dtype=np.int64)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images, {len(labels)} labels")
        except _DAMAGED as error:
            again = (
                "Remove that folder: the next start downloads them again."
                if source.downloads
                else f"Get {', '.join(files)} again, from {source.url}."
            )
            raise DataError(
                f"The files of {name} in {folder} are damaged ({error}). {again}"
            ) from error
        return Arrays(np.ascontiguousarray(images), labels, tuple(data.classes))

    stats = [(file, (folder / file).stat()) for file in files]
    listed = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return cached(f"{folder.resolve()}/{split}", listed, build)


def _download(source: Source, name: str, root: Path) -> None:
    problem = probe(source.url)
    if problem is None:
        try:
            source.make(str(root), download=True)
            return
        except (OSError, RuntimeError, HTTPException) as error:
            problem = str(error)
    raise DataError(
        f"{name} is not in {root} and cannot be downloaded from {source.url} ({problem}). "
        f"Connect to the network, or copy its files to {root / source.folder}, as torchvision "
        'lays them out; the data set "shapes" needs neither.'
    )


def probe(url: str, seconds: float = PROBE_SECONDS) -> str | None:
    """Return None if the address answers within so many seconds, else what went wrong.

    torchvision's downloads have no time limit: on a network that drops packets they hang.
    """
    result: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                result.append(None)
        except (OSError, ValueError, HTTPException) as error:
            result.append(str(error))

    # In a thread, because looking up the host's name knows no time limit either.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return result[0] if result else f"no answer within {seconds:g} s"
