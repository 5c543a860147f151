"""Batches as a pure function of (key, data set, size, step): there is no loader, and no state.

Nothing here synchronizes with the device: batches are indexed on the data set's device.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fnet import random
from fnet.data.arrays import as_images, as_labels
from fnet.data.dataset import Dataset, rows


class Batch(NamedTuple):
    """The input of a step: some rows of a data set and the randomness to use on them.

    Attributes:
        images: uint8 (or float, on the same scale 0..255) `[N, C, H, W]`, channels-last strides.
        labels: int64 `[N]`, or float `[N, classes]`.
        key: the key of this batch, int64 `[2]`.
        index: each row's index in the data set, int64 `[N]`. A sample draws its randomness from
            `fold_in(key, index)`, so it does not depend on how a batch is divided.
        weight: float32 `[N]`, 0 for padding, else 1.
        epoch: epochs passed before this batch, float64 0-d: 2.5 is the middle of the third epoch.
    """

    images: Tensor
    labels: Tensor
    key: Tensor
    index: Tensor  # type: ignore[assignment]  # replaces tuple.index
    weight: Tensor
    epoch: Tensor


def steps_per_epoch(n: int, size: int) -> int:
    """Return how many full batches of this size n images give; an incomplete last one is dropped.

    Raises:
        ValueError: the size is below 1 or above n.

    >>> steps_per_epoch(50_000, 128)
    390
    """
    if not 1 <= size <= n:
        raise ValueError(
            f"a batch size of {size} does not fit a data set of {n} images: choose 1 to {n}"
        )
    return n // size


def batch_at(key: Tensor, dataset: Dataset, size: int, step: int) -> Batch:
    """Return the training batch of one step: the same arguments give the same batch.

    Every epoch uses its own permutation of the data set. To iterate, use `batches`, which draws an
    epoch's permutation once instead of at every step.

    Args:
        key: the key for all batches of a training, int64 `[2]`.
        dataset: the images and labels.
        size: rows in a batch.
        step: counted from 0 over all epochs.

    Raises:
        ValueError: the size does not fit the data set, or the step is below 0.
    """
    if step < 0:
        raise ValueError(f"steps are counted from 0, got step {step}")
    return next(_batches(key, dataset, size, step, step + 1))


def batches(
    key: Tensor, dataset: Dataset, size: int, epochs: int = 1, start: int = 0
) -> Iterator[Batch]:
    """Return an iterator over the batches of the steps from `start` to the end of `epochs`.

    `next(batches(key, dataset, size, epochs, start=n))` is `batch_at(key, dataset, size, n)`: to
    resume a training that was stopped after n steps, give `start=n`.

    Args:
        key: the key for all batches of a training, int64 `[2]`.
        dataset: the images and labels.
        size: rows in a batch; an incomplete last batch of an epoch is dropped.
        epochs: the number of epochs, counted from step 0.
        start: the first step.

    Raises:
        ValueError: the size does not fit the data set, or the start is below 0.

    >>> from fnet.data.shapes import shapes
    >>> len(list(batches(random.key(0), shapes(random.key(1), 50), size=16, epochs=2, start=1)))
    5
    """
    steps = steps_per_epoch(len(dataset), size)
    if start < 0:
        raise ValueError(f"steps are counted from 0, got start={start}")

    def iterate() -> Iterator[Batch]:
        for epoch in range(start // steps, epochs):
            first, stop = max(start, epoch * steps), (epoch + 1) * steps
            yield from _batches(key, dataset, size, first, stop)

    return iterate()


def eval_batches(dataset: Dataset, size: int) -> Iterator[Batch]:
    """Return an iterator over the whole data set, in order, in batches of one shape.

    The last batch is padded with copies of row 0 (also index 0) of weight 0, so sums weighted by
    `weight` count every image once for any batch size. Key and epoch are zeros.

    Raises:
        ValueError: the size is below 1.

    >>> from fnet.data.shapes import shapes
    >>> parts = list(eval_batches(shapes(random.key(0), 10), size=4))
    >>> parts[-1].index.tolist(), parts[-1].weight.tolist()
    ([8, 9, 0, 0], [1.0, 1.0, 0.0, 0.0])
    """
    if size < 1:
        raise ValueError(f"a batch needs at least 1 row, got size {size}")

    def iterate() -> Iterator[Batch]:
        device = dataset.device
        for first in range(0, len(dataset), size):
            place = torch.arange(first, first + size, device=device)
            real = place < len(dataset)
            index = torch.where(real, place, 0)
            yield Batch(
                images=rows(dataset.images, index),
                labels=dataset.labels[index],
                key=torch.zeros(2, dtype=torch.int64, device=device),
                index=index,
                weight=real.to(torch.float32),
                epoch=torch.zeros((), dtype=torch.float64, device=device),
            )

    return iterate()


def as_batch(
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    key: Tensor,
    step: int,
    *,
    index: Tensor | np.ndarray | None = None,
    steps_per_epoch: int | None = None,
) -> Batch:
    """Return the batch of one step from images of another source, such as a DataLoader.

    The batch's key is `fold_in(key, step)`, its weights are 1.

    Each sample draws its randomness (augmentation, dropout) from `fold_in(batch.key, index)`. By
    default the index is the position in the batch: all samples of all steps draw differently, but
    the same images in another order draw other numbers. If that matters, or if several processes
    share a step, have the loader also return each sample's index in the data set.

    A compiled step is recompiled for a batch of another size; `DataLoader(drop_last=True)` avoids
    that.

    Args:
        images: as in `Dataset`, `[N, C, H, W]`: floats on the scale that the preprocessing expects
            (`Normalize`: 0..255, so torchvision's `PILToTensor`, not `ToTensor`).
        labels: integers `[N]`, or float `[N, classes]`.
        key: the key for all batches of a training, int64 `[2]`.
        step: counted from 0 over all epochs.
        index: each row's index in the data set, distinct integers `[N]`.
        steps_per_epoch: if given, the batch's epoch is `step / steps_per_epoch`, else 0.

    Returns:
        The batch, on the device of the images.

    Raises:
        ValueError: images, labels or index do not have this form, or the step is below 0.

    >>> images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])
    >>> batch = as_batch(images, labels, random.key(0), step=7, steps_per_epoch=2)
    >>> batch.index.tolist(), batch.weight.tolist(), batch.epoch.item()
    ([0, 1], [1.0, 1.0], 3.5)
    """
    if step < 0:
        raise ValueError(f"steps are counted from 0, got step {step}")
    pixels = as_images(images).contiguous(memory_format=torch.channels_last)
    n, device = len(pixels), pixels.device
    soft = torch.as_tensor(labels)
    if not (soft.is_floating_point() and soft.ndim == 2 and len(soft) == n):
        soft = as_labels(labels, n)
    place = torch.arange(n) if index is None else as_labels(index, n, "index")
    epoch = 0.0 if steps_per_epoch is None else step / steps_per_epoch
    return Batch(
        images=pixels,
        labels=_on(device, soft),
        key=random.fold_in(_on(device, key), step),
        index=_on(device, place),
        weight=torch.ones(n, device=device),
        epoch=torch.full((), epoch, dtype=torch.float64, device=device),
    )


def _batches(key: Tensor, dataset: Dataset, size: int, first: int, stop: int) -> Iterator[Batch]:
    """Yield the batches of the steps `first` to `stop`, all of one epoch.

    Everything but the images is computed for all these steps at once: the launch overhead of many
    operations on few numbers would exceed the step time of a small network.
    """
    device = dataset.device
    steps = steps_per_epoch(len(dataset), size)
    epoch = first // steps
    order_key, batch_key = random.split(_on(device, key)).unbind(-2)
    order = random.permutation(random.fold_in(order_key, epoch), len(dataset))
    order = order[(first - epoch * steps) * size : (stop - epoch * steps) * size]
    place = torch.arange(first, stop, device=device)
    weight = torch.ones(size, device=device)
    for index, labels, own_key, passed in zip(
        order.split(size),
        dataset.labels.index_select(0, order).split(size),
        random.fold_in(batch_key, place).unbind(),
        (place.to(torch.float64) / steps).unbind(),
        strict=True,
    ):
        yield Batch(rows(dataset.images, index), labels, own_key, index, weight, passed)


def _on(device: torch.device, values: Tensor) -> Tensor:
    # non_blocking: copying a key must not wait for the work queued on a GPU.
    return values.to(device, non_blocking=True)
