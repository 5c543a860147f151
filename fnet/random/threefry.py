"""Threefry-2x32 of 20 rounds, the block function behind `fnet.random`.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fnet.opaque import operation

_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def rounds(k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Return the two words of the block of a key `(k0, k1)` and a counter `(x0, x1)`.

    The arguments are int64 tensors or arrays of 32-bit words.

    >>> [hex(int(word)) for word in rounds(*torch.zeros(4, 1, dtype=torch.int64))]
    ['0x6b200159', '0x99ba4efe']
    """
    schedule = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = x0 + k0, (x1 + k1) & _MASK
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 += x1  # masked once, at the end: it cannot overflow, it stays far below 2**63
            carried = x1 >> (32 - rotation)
            x1 <<= rotation
            x1 |= carried
            x1 ^= x0
            x1 &= _MASK
        x0 += schedule[(group + 1) % 3]
        x1 += schedule[(group + 2) % 3] + (group + 1)
        x1 &= _MASK
    return x0 & _MASK, x1


def _kernel(key: Tensor, count: Tensor) -> Tensor:
    k0, k1, x1 = torch.broadcast_tensors(*key.unbind(-1), count)
    if key.device.type == "cpu":
        # There are few keys, and NumPy's overhead per operation is a third of PyTorch's.
        k0, k1, x1 = (word.numpy() for word in (k0, k1, x1))
        return torch.from_numpy(np.stack(rounds(k0, k1, np.zeros_like(x1), x1), axis=-1))
    if key.device.type == "cuda" and _has_triton():
        # One kernel launch instead of 150, one for each operation of the rounds.
        from fnet.random.threefry_triton import blocks

        with torch.cuda.device(key.device):
            return blocks(k0, k1, x1)
    return torch.stack(rounds(k0, k1, torch.zeros_like(x1), x1), dim=-1)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _many(
    info: Any, in_dims: tuple[int | None, int | None], key: Tensor, count: Tensor
) -> tuple[Tensor, int]:
    key_dim, count_dim = in_dims
    ndim = max(key.ndim - 1 - (key_dim is not None), count.ndim - (count_dim is not None))
    if key_dim is not None:
        key = _lead(key, key_dim, ndim + 2)
    if count_dim is not None:
        count = _lead(count, count_dim, ndim + 1)
    return _threefry2x32(key, count), 0


def _lead(tensor: Tensor, dim: int, ndim: int) -> Tensor:
    """Move a dimension to the front, and insert dimensions of size 1 after it up to `ndim`."""
    tensor = tensor.movedim(dim, 0)
    return tensor.reshape(tensor.shape[0], *[1] * (ndim - tensor.ndim), *tensor.shape[1:])


# Opaque: if traced into a training step, the 20 rounds take minutes to compile.
_threefry2x32 = operation(
    "threefry2x32",
    "(Tensor key, Tensor count) -> Tensor",
    kernel=_kernel,
    fake=lambda key, count: key.new_empty(
        (*torch.broadcast_shapes(key.shape[:-1], count.shape), 2)
    ),
    vmap=_many,
)


def threefry2x32(key: Tensor, count: Tensor) -> Tensor:
    """Return the words [..., 2] of the blocks (0, count), int64 in [0, 2**32).

    Args:
        key: int64 [..., 2] of 32-bit words.
        count: int64 [...] of 32-bit words; broadcasts with the keys.
    """
    words: Tensor = _threefry2x32(key, count)
    return words
