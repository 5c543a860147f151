"""The eager contender: an ordinary PyTorch script, as in the tutorials."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fnet.data import Normalize, PadResize, Preprocess
from recipes.bench.arrays import open_work
from recipes.bench.contender import Stream, Streams
from recipes.bench.devices import waiting
from recipes.bench.torch_step import set_up, steps, torch_optimizer
from recipes.bench.work import CROP, Work


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images in an array, returned as PIL images, as in `torchvision.datasets.CIFAR10`."""

    def __init__(
        self, images: np.ndarray[Any, Any], labels: list[int], transform: Callable[[Any], Tensor]
    ) -> None:
        self._images = images[..., 0] if images.shape[-1] == 1 else images
        self._labels, self._transform = labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def transform(preprocess: Preprocess, size: tuple[int, int], augmented: bool) -> Any:
    """Return torchvision's transforms for a recipe's preprocessing and augmentation.

    Args:
        preprocess: a `Normalize` or a `PadResize`.
        size: height and width of the images.
        augmented: whether to add a random crop and flip.
    """
    parts: list[Any] = []
    if augmented:
        parts += [transforms.RandomCrop(size, padding=CROP), transforms.RandomHorizontalFlip()]
    if isinstance(preprocess, PadResize):
        parts += [transforms.Pad(preprocess.padding), transforms.Resize(size)]
        preprocess = preprocess.then
    if not isinstance(preprocess, Normalize):
        raise TypeError(
            f"there are no torchvision transforms for {preprocess}: use Normalize or PadResize"
        )
    parts += [transforms.ToTensor(), transforms.Normalize(preprocess.mean, preprocess.std)]
    return transforms.Compose(parts)


def script(work: Work, workers: int) -> Streams:
    """Return the training steps of the script.

    It uses float32, a shuffling `DataLoader` with this many worker processes, and torch's default
    form of the optimizer.
    """
    experiment, splits = open_work(work)
    module = set_up(work, experiment)
    pictures = Pictures(
        splits.train.images.permute(0, 2, 3, 1).numpy(),
        splits.train.labels.tolist(),
        transform(experiment.preprocess, splits.input_shape[1:], work.augmented),
    )
    on_gpu = work.device != "cpu"
    loader = DataLoader(
        pictures,
        work.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=on_gpu,
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for images, labels in loader:
                yield (
                    images.to(work.device, non_blocking=on_gpu),
                    labels.to(work.device, non_blocking=on_gpu),
                )

    optimizer = torch_optimizer(work.optimizer, module.parameters())
    train = steps(batches(), module, optimizer)
    return {"train": Stream(train, work.batch_size, waiting(work.device))}
