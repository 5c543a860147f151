"""Conversion of images and labels, tensors or NumPy arrays, to checked tensors."""

import numpy as np
import torch
from torch import Tensor


def as_images(images: Tensor | np.ndarray) -> Tensor:
    """Return images `[N, C, H, W]` as a tensor: uint8, or float of at most 32 bits.

    The result shares memory with the input if the dtype needs no conversion, and keeps its
    strides. Other integers become uint8, float64 becomes float32.

    Raises:
        ValueError: another shape or dtype, or integers outside 0..255.

    >>> as_images(np.zeros((2, 3, 8, 8))).dtype, as_images(np.zeros((2, 3, 8, 8), int)).dtype
    (torch.float32, torch.uint8)
    """
    tensor = _as_tensor(images, "images")
    found = f"got {tensor.dtype} {list(tensor.shape)}"
    if tensor.ndim != 4:
        hint = ": add the channel, images[:, None]" if tensor.ndim == 3 else ""
        raise ValueError(f"images must be uint8 or float [N, C, H, W], {found}{hint}")
    if tensor.shape[1] > 4 and tensor.shape[-1] in (1, 3, 4):
        raise ValueError(
            f"images must be [N, C, H, W], {found}, which looks like [N, H, W, C]: move the "
            "channels, with images.permute(0, 3, 1, 2) for a tensor or "
            "images.transpose(0, 3, 1, 2) for a numpy array"
        )
    if tensor.dtype == torch.uint8:
        return tensor
    if tensor.is_floating_point():
        return tensor.to(torch.float32) if tensor.dtype == torch.float64 else tensor
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"images must be uint8 or float [N, C, H, W], {found}")
    if tensor.numel() and not tensor.is_meta:
        low, high = (int(end) for end in tensor.to(torch.int64).aminmax())
        if low < 0 or high > 255:
            raise ValueError(
                f"integer images must have values 0 to 255, got {low} to {high}: scale them, "
                "or give them as floats"
            )
    return tensor.to(torch.uint8)


def as_labels(labels: Tensor | np.ndarray, n: int, name: str = "labels") -> Tensor:
    """Return the labels of n images as an int64 tensor `[n]`; any integer dtype is accepted.

    Args:
        labels: one integer for each image.
        n: the number of images.
        name: the name of the values in an error message.

    Raises:
        ValueError: the values are not integers, or not one for each image.

    >>> as_labels(np.array([1, 0], np.int32), 2)
    tensor([1, 0])
    """
    tensor = _as_tensor(labels, name)
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if not whole or list(tensor.shape) != [n]:
        raise ValueError(
            f"{name} must be int64 [{n}], one for each image, "
            f"got {tensor.dtype} {list(tensor.shape)}"
        )
    return tensor.to(torch.int64)


def _as_tensor(values: Tensor | np.ndarray, name: str) -> Tensor:
    """Return a tensor that shares memory with the array if torch supports its memory layout."""
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{name} must be a tensor or an array of numbers, got {array.dtype}")
    # torch supports only the native byte order, no negative strides, and warns about read-only
    # memory.
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not native.flags.writeable or any(stride < 0 for stride in native.strides):
        native = native.copy(order="K")
    return torch.from_numpy(native)
