"""The contenders with PyTorch and a data set in memory: one tensor, preprocessed once."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from fnet.data import Preprocess
from recipes.bench.arrays import open_work
from recipes.bench.contender import Stream, Streams
from recipes.bench.devices import waiting
from recipes.bench.torch_step import set_up, steps, torch_optimizer
from recipes.bench.work import CROP, Work

Pick: TypeAlias = Callable[[Tensor], Tensor]
"""A function from indices into the data set `[B]` to images `[B, C, H, W]`."""


def memory(
    work: Work,
    *,
    bf16: bool,
    channels_last: bool,
    fused: bool | None,
    compiled: bool = False,
    augmented: bool = False,
) -> Streams:
    """Return the training steps.

    Args:
        work: the row.
        bf16: autocast to bfloat16.
        channels_last: the memory format of images and weights.
        fused: the option of torch's optimizer; None is torch's default.
        compiled: use `torch.compile(module)`.
        augmented: random crop and flip on the device.
    """
    experiment, splits = open_work(work)
    module = set_up(work, experiment)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(memory_format=layout)
    optimizer = torch_optimizer(work.optimizer, module.parameters(), fused)
    if compiled:
        module.compile()
    if augmented:
        pick = _cropping(splits.train.images, experiment.preprocess, work.device)
    else:
        del splits  # only the preprocessed inputs must be in memory
        pick = _picking(torch.from_numpy(work.load("inputs")).to(work.device), channels_last)
    labels = torch.from_numpy(work.load("train_labels")).to(work.device)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        whole = len(labels) // work.batch_size * work.batch_size
        while True:
            order = torch.randperm(len(labels), device=labels.device)[:whole]
            for index in order.split(work.batch_size):
                # No copy if they already have this memory format.
                images = pick(index).contiguous(memory_format=layout)
                yield images, labels.index_select(0, index)

    train = steps(batches(), module, optimizer, bf16=bf16)
    return {"train": Stream(train, work.batch_size, waiting(work.device))}


def crop_flip(padded: Tensor, index: Tensor, padding: int = CROP) -> Tensor:
    """Return these images with a random crop, mirrored with probability 0.5.

    Args:
        padded: images `[N, H + 2 * padding, W + 2 * padding, C]`.
        index: the indices of the images, int64 `[B]`.
        padding: the padding in pixels on every side.

    Returns:
        `[B, C, H, W]`, channels last.
    """
    device, many = padded.device, len(index)
    height, width = (side - 2 * padding for side in padded.shape[1:3])
    down, right = torch.randint(2 * padding + 1, (2, many, 1), device=device)
    rows = down + torch.arange(height, device=device)
    columns = right + torch.arange(width, device=device)
    mirrored = torch.rand(many, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    crops = padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2)


def _picking(inputs: Tensor, channels_last: bool) -> Pick:
    """Return a `Pick` from preprocessed images `[N, H, W, C]`, stored in this memory format."""
    if channels_last:
        return lambda index: inputs.index_select(0, index).permute(0, 3, 1, 2)
    planes = inputs.permute(0, 3, 1, 2).contiguous()
    return lambda index: planes.index_select(0, index)


def _cropping(images: Tensor, preprocess: Preprocess, device: str) -> Pick:
    """Return a `Pick` of random crops from images `[N, C, H, W]`, padded and preprocessed once."""
    padded = preprocess(F.pad(images.to(device), [CROP] * 4)).permute(0, 2, 3, 1).contiguous()
    return lambda index: crop_flip(padded, index)
