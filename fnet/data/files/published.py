"""The published data sets, downloaded, checked and parsed by torchvision."""

import os
import socket
import threading
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from pickle import PickleError
from typing import Any

import numpy as np
import torch
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from fnet.data.dataset import DataError, require_labels
from fnet.data.files.cache import Arrays, cached

PROBE_SECONDS = 5.0
STALL_SECONDS = 60.0
"""A download that receives no data for so long is aborted."""

# The exceptions of torchvision's parsers for a file that is truncated or of another format.
_DAMAGED = (OSError, ValueError, RuntimeError, AssertionError, LookupError, EOFError, PickleError)


@dataclass(frozen=True)
class Source:
    """A data set that torchvision reads.

    Attributes:
        make: the class of torchvision.
        folder: the folder of its files, in the data directory.
        files: the sets of files that each split can be read from, the preferred one first.
        url: the first download of torchvision, or the web page of the files.
        archives: the MD5 of each file that torchvision downloads, by its path in the data
            directory; empty if torchvision cannot download the data set.
        md5: the MD5 of the files, as far as torchvision has it.
    """

    make: Any
    folder: str
    files: Mapping[str, tuple[tuple[str, ...], ...]]
    url: str
    archives: Mapping[str, str] = field(default_factory=dict)
    md5: Mapping[str, str] = field(default_factory=dict)


def _cifar(make: type[datasets.CIFAR10]) -> Source:
    md5 = dict([*make.train_list, *make.test_list, (make.meta["filename"], make.meta["md5"])])
    every = tuple(md5)  # torchvision checks all of them for either split
    files = {"train": (every,), "test": (every,)}
    return Source(make, make.base_folder, files, make.url, {make.filename: make.tgz_md5}, md5)


def _mnist(make: type[datasets.MNIST]) -> Source:
    every = tuple(
        f"{split}-{kind}-ubyte"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    folder = f"{make.__name__}/raw"
    files = {"train": (every,), "test": (every,)}
    url = make.mirrors[0] + make.resources[0][0]
    archives = {f"{folder}/{name}": md5 for name, md5 in make.resources}
    return Source(make, folder, files, url, archives)


class FER2013(datasets.FER2013):
    """FER2013 of torchvision, with the arguments and attributes of its other data sets."""

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
    return Source(FER2013, "fer2013", files, url)


SOURCES = {
    "cifar10": _cifar(datasets.CIFAR10),
    "cifar100": _cifar(datasets.CIFAR100),
    "mnist": _mnist(datasets.MNIST),
    "fashion_mnist": _mnist(datasets.FashionMNIST),
    "fer2013": _fer2013(),
}


def find_files(name: str, root: Path, split: str) -> tuple[str, ...] | None:
    """Return the files that a published data set is read from, or None if some are missing."""
    source = SOURCES[name]
    folder = root / source.folder
    choices = source.files[split]
    return next((c for c in choices if all(os.path.isfile(folder / f) for f in c)), None)


def load_source(name: str, root: Path, split: str) -> Arrays:
    """Return a published data set from the cache or from files in `root`, downloaded if missing.

    If the files are in the places that torchvision uses, the network is not accessed.

    Args:
        name: one of `SOURCES`.
        root: the data directory.
        split: "train" or "test".

    Raises:
        DataError: the files are missing and cannot be downloaded, or they are damaged.
    """
    source = SOURCES[name]
    folder = root / source.folder
    choices = source.files[split]
    files = find_files(name, root, split)
    if files is None:
        if not source.archives:
            names = " or ".join(", ".join(choice) for choice in choices)
            raise DataError(
                f"The {split} split of {name} is read from {names}, and {folder} has none of them. "
                f"Download one from {source.url} (fnet cannot do that) and put it there."
            )
        _download(source, name, root)
        files = choices[0]

    def build() -> Arrays:
        try:
            with warnings.catch_warnings():
                # The pickles of CIFAR contain a dtype in a form that NumPy deprecates.
                warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
                data = source.make(str(root), train=split == "train", download=False)
            images = np.asarray(data.data).reshape(len(data), *data.data.shape[1:3], -1)
            labels = np.asarray(data.targets, dtype=np.int64)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images, {len(labels)} labels")
            require_labels(torch.from_numpy(labels), len(data.classes))
        except PermissionError as error:
            raise DataError(f"{error.filename} cannot be read: change its permissions.") from error
        except _DAMAGED as error:
            raise _damaged(source, name, folder, files, error) from error
        return Arrays(np.ascontiguousarray(images), labels, tuple(data.classes))

    stats = [(file, (folder / file).stat()) for file in files]
    listed = [
        (file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        for file, stat in stats
    ]
    return cached(f"{folder.resolve()}/{split}", listed, build)


def _damaged(
    source: Source, name: str, folder: Path, files: tuple[str, ...], error: Exception
) -> DataError:
    wrong = [file for file in files if not _is_whole(folder / file, source.md5.get(file))]
    reason = "wrong checksum" if wrong else str(error) or type(error).__name__
    which = ", ".join(wrong or files)
    again = (
        f"Delete {which} there: the next start downloads them again."
        if source.archives
        else f"Download {which} again, from {source.url}."
    )
    return DataError(f"The files of {name} in {folder} are damaged ({reason}). {again}")


def _download(source: Source, name: str, root: Path) -> None:
    """Let torchvision download and unpack the files, or unpack archives that are there already."""
    problem = probe(source.url) if _incomplete(source, root) else None
    if problem is None:
        try:
            with _stalled_after(STALL_SECONDS):
                source.make(str(root), download=True)
            return
        except (OSError, RuntimeError, HTTPException) as error:
            problem = " ".join(str(error).split())
    partial = [str(file) for file in _incomplete(source, root) if os.path.exists(file)]
    if partial:
        raise DataError(
            f"{name} cannot be unpacked: {', '.join(partial)} is damaged or an incomplete download "
            f"({problem}). Delete it and start again, connected to the network, or download it "
            f"from {source.url.rpartition('/')[0]} in another way."
        )
    raise DataError(
        f"{name} is not in {root} and cannot be downloaded from {source.url} ({problem}). "
        f"Connect to the network, or copy the files that torchvision reads to "
        f'{root / source.folder}; the data set "shapes" needs neither.'
    )


def _incomplete(source: Source, root: Path) -> list[Path]:
    """Return the archives that are missing or have a wrong checksum."""
    return [root / file for file, md5 in source.archives.items() if not _is_whole(root / file, md5)]


def _is_whole(file: Path, md5: str | None) -> bool:
    """Return whether a file exists, can be read and has this MD5 (None: any)."""
    try:
        return check_integrity(str(file), md5)
    except OSError:
        return False


@contextmanager
def _stalled_after(seconds: float) -> Iterator[None]:
    """Set a timeout for the connections opened within the context.

    The downloads of torchvision have no timeout and no argument for one: this is the default
    timeout of the whole process.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def probe(url: str, seconds: float = PROBE_SECONDS) -> str | None:
    """Return None if the URL answers within the timeout, else what went wrong.

    The downloads of torchvision have no timeout: on a network that drops packets they hang.
    """
    result: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                result.append(None)
        except (OSError, ValueError, HTTPException) as error:
            result.append(str(error))

    # In a thread, because DNS resolution has no timeout either.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return result[0] if result else f"no answer within {seconds:g} s"
