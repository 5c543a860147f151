"""Images in a folder of class folders: one split of it, from the cache or decoded now."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fnet import random
from fnet.data.dataset import DataError, DataWarning, held_out, printable, stratified
from fnet.data.files.cache import Arrays, cached
from fnet.data.files.decode_many import Progress, decode
from fnet.data.files.doubts import doubts, require_usable
from fnet.data.files.layout import File, Layout, read_layout
from fnet.data.fit import Fit


@dataclass(frozen=True, eq=False)
class Reading:
    """How the images of a folder are read.

    Attributes:
        size: the height and width to resize them to; None: all must have one size.
        fit: how they are resized, see `fnet.data.fit`.
        skip_broken: skip broken files (unreadable, not an image, damaged) and list them in
            `skipped`, instead of raising an error.
        test: the fraction of the images of each class in the test split, for a folder without a
            split; None: the folder has a split.
        key: the key that chooses the test images; None: `random.key(0)`.
        limit: read only a stratified sample of this many images (`Dataset.take`), or all if there
            are fewer. With `skip_broken` all are decoded: which are broken is not known before.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    skip_broken: bool = False
    test: float | None = None
    key: Tensor | None = None
    limit: int | None = None


def load_folder(
    folder: Path, split: str, reading: Reading, on_progress: Progress | None = None
) -> tuple[Arrays, tuple[str, ...]]:
    """Return the images of one split, and the names of the files that are no images by name.

    The layouts are those of `fnet.data.files.layout`. If a folder has no split, `reading.test` and
    `reading.key` make one.

    Classes, and the files in each, are sorted by name, so the images are ordered by class. The
    images are upright and opaque (`fnet.data.files.decode.read_pixels`). They are grey (C = 1) if
    all that are decoded are grey, else RGB.

    Args:
        folder: the folder.
        split: "train" or "test".
        reading: how the images are read.
        on_progress: called while decoding.

    Raises:
        DataError: a file or folder is not as expected; the message names it.
    """
    try:
        layout = read_layout(folder)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}). Change its permissions, repair "
            "it, or remove it."
        ) from error
    require_usable(folder, layout, reading.test)
    arrays = _Images(folder, layout, split, reading, on_progress).read()
    for text in doubts(folder, layout, reading.test):
        warnings.warn(text, DataWarning, stacklevel=3)
    return arrays, tuple(map(printable, layout.ignored))


class _Images:
    """The images of one split, or all images of a folder without a split."""

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        split: str,
        reading: Reading,
        on_progress: Progress | None,
    ) -> None:
        self._folder, self._classes, self._split = folder, layout.classes, split
        self._reading, self._on_progress = reading, on_progress
        self._divided = "all" in layout.parts
        name = "all" if self._divided else split
        part = layout.parts[name]
        self._base = part.base
        files = [part.files.get(cls, ()) for cls in layout.classes]
        self._files: list[File] = [file for group in files for file in group]
        self._labels = np.repeat(np.arange(len(files), dtype=np.int64), list(map(len, files)))
        # A class is one if it has an image in any split, so the classes belong to the identity.
        self._identity = [*((cls,) for cls in layout.classes), *part.folders, *self._files]
        self._source = self._name(name)

    def _name(self, part: str) -> str:
        """Return the name of the decoded images in the cache.

        The settings have separate entries: with the entry of another one, the error about a broken
        file or the notice of the skipped ones would be lost.
        """
        reading = self._reading
        size = f", {reading.fit} to {reading.size}" if reading.size else ""
        kind = ", without those that are broken" if reading.skip_broken else ""
        return f"{self._base.resolve()}, {part}{size}{kind}"

    def read(self) -> Arrays:
        rows = self._chosen(self._labels)
        if self._is_sample(rows):
            return self._read_sample(rows)._replace(files=self._paths(rows))
        every = np.arange(len(self._labels))
        arrays = cached(self._source, self._identity, lambda: self._decoded(every))
        if arrays.skipped:
            left_out = set(arrays.skipped)
            every = every[[printable(file.name) not in left_out for file in self._files]]
            rows = self._chosen(arrays.labels)
        files = self._paths(every[rows])
        if len(rows) == len(arrays.labels):
            return arrays._replace(files=files)
        # The skipped files of a folder without a split are said once.
        skipped = () if self._divided and self._split == "test" else arrays.skipped
        return Arrays(arrays.images[rows], arrays.labels[rows], arrays.classes, skipped, files)

    def _paths(self, places: np.ndarray) -> tuple[str, ...]:
        """Return the paths of the files at these places."""
        return tuple(str(self._base / printable(self._files[place].name)) for place in places)

    def _is_sample(self, rows: np.ndarray) -> bool:
        """Return whether only these rows are to be decoded, for a quick start."""
        limit = self._reading.limit
        return limit is not None and len(rows) == limit and not self._reading.skip_broken

    def _read_sample(self, rows: np.ndarray) -> Arrays:
        # Never from the entry of all images: whether a sample is grey must not depend on the cache.
        sample = ("rows", *rows.tolist())
        return cached(
            f"{self._source}, a sample of {self._split}",
            [*self._identity, sample],
            lambda: self._decoded(rows),
        )

    def _chosen(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows of the split, and of the sample, among rows with these labels."""
        reading, count = self._reading, len(self._classes)
        rows = np.arange(len(labels))
        if self._divided:
            key = random.key(0) if reading.key is None else reading.key
            tested = held_out(key.cpu(), torch.from_numpy(labels), count, reading.test or 0.0)
            rows = rows[(tested if self._split == "test" else ~tested).numpy()]
        if not len(rows):
            raise DataError(
                f"--test {reading.test:g} of the {len(labels)} images in {self._base} leaves no "
                f"{self._split} image: add images, or give another fraction."
            )
        if reading.limit is not None and reading.limit < len(rows):
            order = stratified(torch.from_numpy(labels[rows]), count)[: reading.limit]
            rows = rows[np.sort(order.numpy())]
        return rows

    def _decoded(self, rows: np.ndarray) -> Arrays:
        reading = self._reading
        names = [self._files[row].name for row in rows]
        images, broken = decode(
            [self._base / name for name in names],
            self._on_progress,
            reading.skip_broken,
            reading.size,
            reading.fit,
        )
        kept = np.delete(self._labels[rows], broken)
        for label in np.setdiff1d(self._labels[rows], kept):
            raise DataError(
                f"All images in the class folder {self._base / self._classes[label]} are broken. "
                "Replace them, or remove the class from both train and test."
            )
        skipped = tuple(printable(names[place]) for place in broken)
        return Arrays(images, kept, tuple(map(printable, self._classes)), skipped)
