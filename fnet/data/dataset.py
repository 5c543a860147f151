"""A data set in memory: images, labels and the names of the classes.

Images are `[N, C, H, W]`. Those of `fnet.data.load` are uint8 with channels-last strides, stored as
`[N, H, W, C]`: image files decode to this order, convolutions run fastest on it on most devices,
and each image is one contiguous block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fnet import random
from fnet.data.arrays import as_images, as_labels


class DataError(Exception):
    """An error in the user's data; the message says what is wrong and what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DataWarning(UserWarning):
    """A problem in the data that the user should know about, and that stops nothing."""


def printable(text: str) -> str:
    r"""Return a text with its lone surrogates escaped, so that UTF-8 can encode it.

    File names can contain bytes that are not valid text: Python decodes these to lone surrogates.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(names: Sequence[str], most: int = 5) -> str:
    """Return a list of names for a message, at most `most` of them.

    >>> quoted(["cat", "dog", "emu"], most=2)
    "'cat', 'dog' and 1 more"
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


@dataclass(frozen=True, eq=False, init=False)
class Dataset:
    """Labelled images in memory, on one device.

    Takes tensors or NumPy arrays. It shares their memory if they have the dtypes below; otherwise
    integers become uint8 images and int64 labels, float64 images become float32.

    Attributes:
        images: uint8, or float on the scale that the preprocessing expects (0..255 for
            `Normalize`), `[N, C, H, W]`; fastest with channels-last strides. `fnet.data.load`
            returns uint8 with C = 1 (grey) or 3 (RGB). `fnet.data.augment` says which
            augmentations take floats.
        labels: int64 `[N]`, each below `len(classes)`.
        classes: the names of the classes; a label is an index into this tuple.
        name: the name of the data set in records and titles.
        skipped: the names of the broken files that were skipped (`fnet.data.load`).
        ignored: the names of the files that are no images by name (`fnet.data.load`).
        files: the path of each image's file, if the data set is a folder of images, else empty.

    Raises:
        ValueError: images or labels have another dtype or shape, their lengths differ, or a label
            is not an index into `classes`.

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
    ignored: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __init__(
        self,
        images: Tensor | np.ndarray,
        labels: Tensor | np.ndarray,
        classes: Sequence[str],
        name: str,
        skipped: tuple[str, ...] = (),
        ignored: tuple[str, ...] = (),
        files: tuple[str, ...] = (),
    ) -> None:
        pixels = as_images(images)
        places = as_labels(labels, len(pixels))
        require_labels(places, len(classes))
        # The dataclass is frozen: there is no other way to set an attribute.
        object.__setattr__(self, "images", pixels)
        object.__setattr__(self, "labels", places.to(pixels.device))
        object.__setattr__(self, "classes", tuple(classes))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "skipped", skipped)
        object.__setattr__(self, "ignored", ignored)
        object.__setattr__(self, "files", files)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """The device of images and labels."""
        return self.images.device

    def take(self, n: int) -> "Dataset":
        """Return a stratified sample of n images, in their order in this data set.

        The choice is pseudo-random with a fixed key, so it depends only on the labels and on n,
        and `take(m)` contains `take(n)` for m >= n. If all classes have equally many images, the
        counts of two classes differ by at most one.

        Raises:
            ValueError: n is below 1 or above the number of images.
        """
        if not 1 <= n <= len(self):
            raise ValueError(
                f"cannot take {n} images: {self.name!r} has {len(self)}, ask for 1 to {len(self)}"
            )
        return self._select(self._stratified()[:n])

    def hold_out(self, n: int) -> tuple["Dataset", "Dataset"]:
        """Return two data sets: all images but `take(n)`, to train on, and `take(n)`, to validate.

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
        return stratified(self.labels.cpu(), len(self.classes))

    def _select(self, chosen: Tensor) -> "Dataset":
        places = chosen.sort().values
        files = tuple(self.files[place] for place in places.tolist()) if self.files else ()
        index = places.to(self.device)
        return replace(
            self, images=rows(self.images, index), labels=self.labels[index], files=files
        )

    def with_channels(self, channels: int) -> "Dataset":
        """Return the data set with so many channels: grey images (one channel) are repeated.

        Raises:
            ValueError: the images have another number of channels, and are not grey.
        """
        own = self.images.shape[1]
        if own == channels:
            return self
        if own != 1:
            raise ValueError(f"the images of {self.name!r} have {own} channels, not {channels}")
        images = self.images.expand(-1, channels, -1, -1)
        return replace(self, images=images.contiguous(memory_format=torch.channels_last))

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the data set on another device, with the same strides."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def stratified(labels: Tensor, classes: int) -> Tensor:
    """Return an order of labels in which every prefix has its share of each class.

    The order is pseudo-random with a fixed key: it depends only on the labels.

    Args:
        labels: int64 `[N]`, each below `classes`, on the CPU.
        classes: the number of classes.

    Returns:
        int64 `[N]`, the indices of the labels.
    """
    shuffled = random.permutation(random.key(0), len(labels))
    # An image's position in its class, from 0 to 1: the n smallest have equal shares of each.
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in range(classes):
        members = shuffled[labels[shuffled] == label]
        place[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
    return shuffled[torch.argsort(place[shuffled], stable=True)]


def held_out(key: Tensor, labels: Tensor, classes: int, fraction: float) -> Tensor:
    """Return which images are test images, drawn from the key for each class on its own.

    A class of n images has `round(fraction * n)` test images, but at least one if n is above 1, and
    at least one training image. So the choice in one class does not depend on the others.

    Args:
        key: int64 `[2]`.
        labels: int64 `[N]`, each below `classes`, on the CPU.
        classes: the number of classes.
        fraction: above 0 and at most 1; with 1, all images are test images.

    Returns:
        bool `[N]`.

    >>> held_out(random.key(0), torch.tensor([0, 0, 0, 0, 1, 1]), 2, 0.25).tolist()
    [True, False, False, False, True, False]
    """
    chosen = torch.full((len(labels),), fraction >= 1)
    if fraction < 1:
        for label in range(classes):
            members = (labels == label).nonzero()[:, 0]
            n = len(members)
            count = min(max(round(fraction * n), 1), n - 1)
            if count > 0:
                order = random.permutation(random.fold_in(key, label), n)
                chosen[members[order[:count]]] = True
    return chosen


def require_labels(labels: Tensor, classes: int) -> None:
    """Raise a ValueError that names the first label outside 0 to classes - 1, if there is one."""
    if labels.is_meta:
        return
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        place = int(outside[0])
        raise ValueError(
            f"labels must be 0 to {classes - 1}, for {classes} classes: image {place} has the "
            f"label {int(labels[place])}"
        )


def rows(images: Tensor, index: Tensor) -> Tensor:
    """Return the images at these indices, with channels-last strides.

    Args:
        images: `[N, C, H, W]`, any strides (fastest with channels-last).
        index: int64 `[B]`.

    Returns:
        `[B, C, H, W]`.
    """
    # index_select returns a contiguous tensor: of the NHWC view, that is channels-last.
    return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
