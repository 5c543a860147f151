"""The rounds of Threefry as one GPU kernel. Importing this module requires Triton.

One kernel launch for each call; the same rounds as tensor operations, not compiled, are about 150.
How much time that saves is not known: the figure waits for a GPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256


@triton.jit
def _round(x0, x1, rotation: tl.constexpr):
    x0 += x1
    return x0, ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0


@triton.jit
def _four(x0, x1, a: tl.constexpr, b: tl.constexpr, c: tl.constexpr, d: tl.constexpr):
    x0, x1 = _round(x0, x1, a)
    x0, x1 = _round(x0, x1, b)
    x0, x1 = _round(x0, x1, c)
    return _round(x0, x1, d)


@triton.jit
def _blocks(k0, k1, count, words, n, key_step, count_step, size: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    inside = i < n
    k0 = tl.load(k0 + i * key_step, mask=inside, other=0).to(tl.uint32)
    k1 = tl.load(k1 + i * key_step, mask=inside, other=0).to(tl.uint32)
    x1 = tl.load(count + i * count_step, mask=inside, other=0).to(tl.uint32)
    k2 = k0 ^ k1 ^ 0x1BD11BDA
    x0, x1 = _four(k0, x1 + k1, 13, 15, 26, 6)
    x0, x1 = _four(x0 + k1, x1 + k2 + 1, 17, 29, 16, 24)
    x0, x1 = _four(x0 + k2, x1 + k0 + 2, 13, 15, 26, 6)
    x0, x1 = _four(x0 + k0, x1 + k1 + 3, 17, 29, 16, 24)
    x0, x1 = _four(x0 + k1, x1 + k2 + 4, 13, 15, 26, 6)
    tl.store(words + 2 * i, (x0 + k2).to(tl.int64), mask=inside)
    tl.store(words + 2 * i + 1, (x1 + k0 + 5).to(tl.int64), mask=inside)


def blocks(k0: Tensor, k1: Tensor, count: Tensor) -> Tensor:
    """Return the words [..., 2] of the blocks; the keys' words and the counts have one shape.

    The tensors must be on the current CUDA device.
    """
    words = torch.empty(*count.shape, 2, dtype=torch.int64, device=count.device)
    flat: list[Any] = [word.reshape(-1) for word in (k0, k1, count)]
    n = count.numel()
    if n > 0:
        steps = flat[0].stride(0), flat[2].stride(0)
        _blocks[(triton.cdiv(n, _BLOCK),)](*flat, words, n, *steps, size=_BLOCK)
    return words
