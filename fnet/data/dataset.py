"""A data set in memory: images, labels and the names of the classes.

Images are `[N, C, H, W]`, those of `fnet.data.load` uint8 with channels-last strides: stored as
`[N, H, W, C]`, the order in which image files decode, convolutions on most devices run fastest, and
one row is one block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fnet import random
from fnet.data.arrays import as_images, as_labels


class DataError(Exception):
    """Something is wrong with the user's data: what it is, what was expected, what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DataWarning(UserWarning):
    """Something that the user should know of the data, and that stops nothing."""


def printable(text: str) -> str:
    r"""Return a text with what no encoding of Unicode takes spelled out.

    Names of files can hold bytes that are no text: in Python's names these are lone surrogates.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(names: Sequence[str], most: int = 5) -> str:
    """Return names as a message lists them, so many at most.

    >>> quoted(["cat", "dog", "emu"], most=2)
    "'cat', 'dog' and 1 more"
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


@dataclass(frozen=True, eq=False, init=False)
class Dataset:
    """Labelled images in memory, on one device.

    Made of tensors or numpy arrays, whose memory it shares where their types are those below:
    other integers become uint8 images and int64 labels, float64 images become float32.

    Attributes:
        images: uint8, or float on the scale that the preprocessing expects (0..255 for
            `Normalize`), `[N, C, H, W]`; fastest with channels-last strides. All that
            `fnet.data.load` reads is uint8, with C = 1 (grey) or 3 (RGB). `fnet.data.augment` says
            which augmentations take floats.
        labels: int64 `[N]`, each below `len(classes)`.
        classes: the names of the classes; the label is the place in this tuple.
        name: what the data set is called in records and titles.
        skipped: the names of the broken files that were left out of it (`fnet.data.load`).

    Raises:
        ValueError: images or labels have a type or a shape that is none of these, or their shapes
            do not fit together; a label is not the place of a class.

    >>> images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    >>> dataset = Dataset(images, torch.tensor([0, 0, 0, 1, 1, 1]), ("cat", "dog"), "pets")
    >>> len(dataset), dataset.take(2).labels.tolist()
    (6, [0, 1])
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    skipped: tuple[str, ...] = ()

    def __init__(
        self,
        images: Tensor | np.ndarray,
        labels: Tensor | np.ndarray,
        classes: Sequence[str],
        name: str,
        skipped: tuple[str, ...] = (),
    ) -> None:
        pixels = as_images(images)
        places = as_labels(labels, len(pixels))
        require_labels(places, len(classes))
        # It is frozen: there is no other way to set an attribute.
        object.__setattr__(self, "images", pixels)
        object.__setattr__(self, "labels", places.to(pixels.device))
        object.__setattr__(self, "classes", tuple(classes))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "skipped", skipped)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """The device that images and labels are on."""
        return self.images.device

    def take(self, n: int) -> "Dataset":
        """Return n of the images, each class in proportion, in the order they have here.

        The choice is stratified and pseudo-random with a fixed key, so it depends on the labels
        and on n alone, and `take(m)` holds every image of `take(n)` for m >= n. In a set with
        equally many images a class, the counts of two classes differ by at most one.

        Raises:
            ValueError: n is below 1 or above the number of images.
        """
        if not 1 <= n <= len(self):
            raise ValueError(
                f"cannot take {n} images: {self.name!r} has {len(self)}, ask for 1 to {len(self)}"
            )
        return self._select(self._stratified()[:n])

    def hold_out(self, n: int) -> tuple["Dataset", "Dataset"]:
        """Return the images without `take(n)`, and those: to train on, and to validate on.

        Raises:
            ValueError: n is below 1, or leaves no image to train on.
        """
        if not 1 <= n < len(self):
            raise ValueError(
                f"cannot hold out {n} images: {self.name!r} has {len(self)}, hold out 1 to "
                f"{len(self) - 1}"
            )
        order = self._stratified()
        return self._select(order[n:]), self._select(order[:n])

    def _stratified(self) -> Tensor:
        """Return the places of the images in an order whose every start has all classes alike."""
        labels = self.labels.cpu()
        shuffled = random.permutation(random.key(0), len(self))
        # An image's place in its class, from 0 to 1: the n smallest hold the same share of each.
        place = torch.empty(len(self), dtype=torch.float64)
        for label in range(len(self.classes)):
            members = shuffled[labels[shuffled] == label]
            place[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
        return shuffled[torch.argsort(place[shuffled], stable=True)]

    def _select(self, chosen: Tensor) -> "Dataset":
        index = chosen.sort().values.to(self.device)
        return replace(self, images=rows(self.images, index), labels=self.labels[index])

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the data set on another device (strides stay channels-last)."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def require_labels(labels: Tensor, classes: int) -> None:
    """Raise a ValueError that names the first label outside 0 to classes - 1, if there is one."""
    if labels.is_meta:
        return
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        place = int(outside[0])
        raise ValueError(
            f"labels must be 0 to {classes - 1}, the places in {classes} classes: image {place} "
            f"has the label {int(labels[place])}"
        )


def rows(images: Tensor, index: Tensor) -> Tensor:
    """Return the images at these places, with channels-last strides.

    Args:
        images: `[N, C, H, W]`, any strides (fastest for channels-last).
        index: int64 `[B]`.

    Returns:
        `[B, C, H, W]`.
    """
    # index_select writes a contiguous result: on the NHWC view that is channels-last for us.
    return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
