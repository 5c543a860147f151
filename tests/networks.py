"""Small networks and batches that the tests share."""

import torch
from torch import nn

from fnet import random
from fnet.data import Batch
from fnet.nn import Model, from_module


def plain() -> Model:
    """Two layers, no batch norm, no dropout."""
    return from_module(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)
        ),
        memory_format=torch.channels_last,
    )


def full() -> Model:
    """Convolution, batch norm, dropout of elements and of channels."""
    return from_module(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Dropout2d(0.25),
            nn.Flatten(),
            nn.Linear(144, 5),
        ),
        memory_format=torch.channels_last,
    )


def batch(seed: int, size: int = 8) -> Batch:
    """A batch of random 8 x 8 images of five classes."""
    images, labels, key = random.split(random.key(seed), 3)
    pixels = random.randint(images, (size, 8, 8, 3), 0, 256).to(torch.uint8)
    return Batch(
        images=pixels.permute(0, 3, 1, 2),
        labels=random.randint(labels, (size,), 0, 5),
        key=key,
        index=torch.arange(size),
        weight=torch.ones(size),
        epoch=torch.zeros((), dtype=torch.float64),
    )


def take(rows: Batch, places: slice | torch.Tensor) -> Batch:
    """Return these samples of a batch, each with its own index, label and weight."""
    names = ("images", "labels", "index", "weight")
    return rows._replace(**{name: getattr(rows, name)[places] for name in names})
