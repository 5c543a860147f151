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
        files: the names of the files of each split.
        url: what torchvision downloads first.
    """

    make: Any
    folder: str
    files: Mapping[str, tuple[str, ...]]
    url: str


def _cifar(make: type[datasets.CIFAR10]) -> Source:
    names = {"train": make.train_list, "test": make.test_list}
    files = {
        split: (*(name for name, _ in listed), make.meta["filename"])
        for split, listed in names.items()
    }
    return Source(make, make.base_folder, files, make.url)


def _mnist(make: type[datasets.MNIST]) -> Source:
    files = {
        split: (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
        for split, stem in (("train", "train"), ("test", "t10k"))
    }
    return Source(make, f"{make.__name__}/raw", files, make.mirrors[0] + make.resources[0][0])


SOURCES = {
    "cifar10": _cifar(datasets.CIFAR10),
    "cifar100": _cifar(datasets.CIFAR100),
    "mnist": _mnist(datasets.MNIST),
    "fashion_mnist": _mnist(datasets.FashionMNIST),
}


def load_source(name: str, root: Path, split: str) -> Arrays:
    """Return a published data set, from the cache, from files under `root`, or downloaded there.

    No network is touched if the files are there, laid out as torchvision lays them out.

    Args:
        name: one of `SOURCES`.
        root: the data directory.
        split: "train" or "test".

    Raises:
        DataError: the data cannot be downloaded, or the files are damaged.
    """
    source = SOURCES[name]
    folder = root / source.folder
    needed = [folder / file for files in source.files.values() for file in files]
    if not all(path.is_file() for path in needed):
        _download(source, name, root)

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
            raise DataError(
                f"The files of {name} in {folder} are damaged ({error}). "
                "Remove that folder: the next start downloads them again."
            ) from error
        return Arrays(np.ascontiguousarray(images), labels, tuple(data.classes))

    stats = [(file, (folder / file).stat()) for file in source.files[split]]
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
