"""Preprocessing: images with values 0..255 to the float32 input of a network.

A `Preprocess` is part of the record of a run: training, evaluation and prediction share it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from fnet.data.dataset import Dataset
from fnet.data.resize import AT_ONCE, pad_and_resize

Preprocess: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Normalize:
    """Scale images to 0..1, then to mean 0 and standard deviation 1: `(x / 255 - mean) / std`.

    The same numbers as torchvision's `ToTensor` followed by `Normalize`.

    Attributes:
        mean: one number for each channel, or a single one for all, on the scale 0..1.
        std: the standard deviations, as many as the means, on the same scale.

    Raises:
        ValueError: mean and std differ in length, or a std is not above 0.

    >>> NORM_HALF(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)).flatten().tolist()
    [-1.0, 1.0]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                "mean and std need one number for each channel (or one for all), "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if not all(std > 0 for std in self.std):
            raise ValueError(
                f"every std must be above 0, got {self.std}: a constant channel cannot be scaled "
                "to standard deviation 1, give it a std of 1"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Return the normalised images.

        Args:
            images: `[..., C, H, W]`, uint8 or float, values 0..255.

        Returns:
            float32, shape and strides of `images`.

        Raises:
            ValueError: the images have another number of channels than there are means.
        """
        channels = images.shape[-3]
        if len(self.mean) not in (1, channels):
            raise ValueError(
                f"this Normalize is for images of {len(self.mean)} channels, these have "
                f"{channels}: use statistics of the same data set, or a single mean and std"
            )
        scaled = images.to(torch.float32) / 255
        return (scaled - _per_channel(self.mean, scaled)) / _per_channel(self.std, scaled)


@dataclass(frozen=True)
class PadResize:
    """Pad images with black pixels, resize them back to their size, then normalise them.

    As torchvision's `Pad(padding)`, `Resize(size)`, `ToTensor`, `Normalize` with the size of the
    images. On tensors on the same device the numbers are the same; PIL rounds differently, so on
    PIL images a value may differ by two levels of 255 before normalisation.

    Attributes:
        padding: pixels added on every side.
        then: the normalisation of the result.

    Raises:
        ValueError: the padding is below 0.

    >>> images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    >>> PadResize(4, NORM_HALF)(images)[0, 0, 16, [0, 16]].tolist()
    [-1.0, 1.0]
    """

    padding: int
    then: Normalize

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding is a number of pixels, 0 or more, got {self.padding}")

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images, padded, resized and normalised.

        Args:
            images: `[N, C, H, W]`, uint8 or float, values 0..255.

        Returns:
            float32, shape and strides of `images`.

        Raises:
            ValueError: the images have another number of channels than there are means.
        """
        return self.then(pad_and_resize(images, self.padding))


def prepare(preprocess: Preprocess, *datasets: Dataset) -> tuple[Preprocess, list[Dataset]]:
    """Apply the part of a preprocessing that can be done in advance to whole data sets.

    The padding and resizing of `PadResize` is done here once instead of at every step; the numbers
    are the same. Any other preprocessing and its data sets are returned unchanged.

    Returns:
        The preprocessing that is left for each batch, and the data sets to use with it.

    >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    >>> dataset = Dataset(images, torch.tensor([0, 1]), ("black", "white"), "two")
    >>> rest, (prepared,) = prepare(PadResize(4, NORM_HALF), dataset)
    >>> rest == NORM_HALF
    True
    """
    if not isinstance(preprocess, PadResize):
        return preprocess, list(datasets)
    padding = preprocess.padding
    resized = [
        torch.cat([pad_and_resize(part, padding) for part in dataset.images.split(AT_ONCE)])
        for dataset in datasets
    ]
    prepared = zip(datasets, resized, strict=True)
    return preprocess.then, [replace(dataset, images=images) for dataset, images in prepared]


def normalize(mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> Normalize:
    """Return the `Normalize` with these means and stds (a single number counts for all channels).

    >>> normalize(0.5, 0.5) == NORM_HALF
    True
    """
    return Normalize(_as_tuple(mean), _as_tuple(std))


NORM_HALF = Normalize((0.5,), (0.5,))
"""Scale to -1..1, for any number of channels."""

NORM_CIFAR10 = Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""The constants in common use for CIFAR-10 (std: the mean of the standard deviations of images)."""


def statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and (population) standard deviation of each channel, on the scale 0..1.

    For uint8 images the sums are exact integers, so the result depends neither on the device nor
    on the number of threads. Float images, on the scale 0..255, are summed in float64.

    >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    >>> statistics(Dataset(images, torch.tensor([0, 1]), ("black", "white"), "two"))
    ((0.5,), (0.5,))
    """
    images = dataset.images
    if images.stride(0) == 0:  # the same image many times
        images = images[:1]
    if images.is_floating_point():
        return _float_statistics(images)
    value = torch.arange(256)
    means, stds = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256).cpu()
        n = channel.numel()
        total, squares = int((counts * value).sum()), int((counts * value**2).sum())
        means.append(total / n / 255)
        stds.append((n * squares - total**2) ** 0.5 / n / 255)
    return tuple(means), tuple(stds)


def normalize_of(dataset: Dataset) -> Normalize:
    """Return the `Normalize` with the statistics of a data set, its training images.

    A constant channel has a std of 1, so that it becomes 0.

    >>> black = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    >>> normalize_of(Dataset(black, torch.tensor([0, 1]), ("a", "b"), "black"))
    Normalize(mean=(0.0,), std=(1.0,))
    """
    mean, std = statistics(dataset)
    return Normalize(mean, tuple(value or 1.0 for value in std))


def _float_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = [channel.to(torch.float64) / 255 for channel in images.unbind(1)]
    means = tuple(channel.mean().item() for channel in channels)
    return means, tuple(channel.std(correction=0).item() for channel in channels)


def _as_tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (float(value),)


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    # torch.full launches fill kernels; torch.tensor(values, device="cuda") would synchronize.
    return torch.stack([torch.full((), value, device=like.device) for value in values]).view(
        -1, 1, 1
    )
