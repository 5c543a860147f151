"""Pixels by their places: the one operation behind every geometric augmentation."""

import torch
from torch import Tensor


def gather(pixels: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return `[N, C, h, w]`: for image n the pixels at `row[n], column[n]`, channels-last strides.

    Args:
        pixels: `[N, H, W, C]`.
        row: int64, broadcasts with `column` to `[N, h, w]`.
        column: int64, likewise.
    """
    # Plain indices, neither comparisons nor `where` on pixels: those would be worked out again
    # for every pixel that a later gather reads (compiled for a CPU, 15 times as slow).
    sample = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[sample, row, column].permute(0, 3, 1, 2)
