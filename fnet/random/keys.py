"""Random numbers as pure functions of explicit keys, with the bits of `jax.random`.

A key is an int64 tensor [2] of two 32-bit words. Keys [..., 2] draw [..., *shape]: each row has the
numbers that its key alone would draw. All functions except `normal` give the same bits eagerly,
compiled, under vmap and on every device; except for the `fast` functions, they are also the bits of
JAX. The generator is Threefry-2x32 (`fnet/random/threefry.py`), with the counters of JAX's
partitionable form.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fnet.random.threefry import threefry2x32

_MASK = 0xFFFFFFFF
_FAST_BITS = 24


def key(seed: int, device: torch.device | str | None = None) -> Tensor:
    """Return the key [2] of a seed, 0 <= seed < 2**64.

    The words are the high and low 32 bits of the seed, as in `jax.random.key` with 64-bit integers
    enabled. With them disabled, JAX drops the high word: both agree for seeds below 2**32.

    >>> key(42)
    tensor([ 0, 42])
    """
    seed = operator.index(seed)
    if not 0 <= seed < 2**64:
        raise ValueError(f"a seed must be at least 0 and below 2**64, got {seed}")
    return torch.tensor([seed >> 32, seed & _MASK], dtype=torch.int64, device=device)


def split(key: Tensor, num: int = 2) -> Tensor:
    """Return `num` new keys [..., num, 2] of a key [..., 2], as `jax.random.split`.

    >>> k_init, k_data = split(key(0))
    """
    return _blocks(key, num)


def fold_in(key: Tensor, data: int | Tensor) -> Tensor:
    """Return the key [..., 2] that belongs to `data` under a key, as `jax.random.fold_in`.

    Data is an integer, or a tensor of integers whose shape broadcasts with that of the keys: one
    key and data [N] give [N, 2]; keys [N, 2] with one number or with data [N] do so too. Only the
    low 32 bits of the data are used.

    >>> fold_in(key(0), torch.arange(3)).shape
    torch.Size([3, 2])
    """
    if not isinstance(data, Tensor):
        data = torch.full((), operator.index(data) & _MASK, device=key.device)
    if data.is_floating_point() or data.is_complex():
        raise TypeError(f"data folded into a key must be integers, got {data.dtype}")
    count = data.to(torch.int64) & _MASK
    return threefry2x32(_checked(key), count)


def bits(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return uniform 32-bit integers [..., *shape], int64 in [0, 2**32), as `jax.random.bits`.

    >>> bits(key(0), (2,))
    tensor([4070199207, 4202968722])
    """
    high, low = _blocks(key, math.prod(shape)).unbind(-1)
    return (high ^ low).reshape((*key.shape[:-1], *shape))


def uniform(
    key: Tensor,
    shape: Sequence[int],
    low: float | Tensor = 0.0,
    high: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return uniform numbers [..., *shape] in [low, high), multiples of 2**-23 scaled to the range.

    As `jax.random.uniform` in float32. Bounds are floats or tensors that broadcast. For another
    dtype, the float32 numbers are converted; rounding to half precision may give `high` itself.

    >>> uniform(key(0), (2,))
    tensor([0.9477, 0.9786])
    """
    unit = (bits(key, shape) >> 9).to(torch.float32) * 2.0**-23
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and (low, high) == (0, 1):
        return unit.to(dtype)
    low, span = _float32(low), _float32(_float32(high) - _float32(low))
    # In float64 the product is exact, so a compiler that contracts to an FMA changes no bit.
    scaled = (unit.to(torch.float64) * span + low).to(torch.float32)
    return scaled.clamp(min=low).to(dtype)


def bernoulli(key: Tensor, p: float | Tensor, shape: Sequence[int]) -> Tensor:
    """Return booleans [..., *shape], True with probability p, as `jax.random.bernoulli`.

    It is True exactly where `uniform(key, shape)` is below p rounded to float32. A tensor p
    broadcasts.

    >>> bernoulli(key(0), 0.3, (6,)).tolist()
    [False, False, False, False, False, True]
    """
    return uniform(key, shape) < _float32(p)


def normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal numbers [..., *shape], float32, as `jax.random.normal` within 1e-6.

    Beyond three standard deviations they differ by up to 2e-5, because JAX's inverse error function
    is less accurate there.

    >>> normal(key(0), (2,))
    tensor([1.6226, 2.0253])
    """
    # The smallest float32 of the open interval: erfinv(-1) would be -infinity.
    return math.sqrt(2.0) * torch.erfinv(uniform(key, shape, -1.0 + 2.0**-24, 1.0))


def randint(key: Tensor, shape: Sequence[int], low: int, high: int) -> Tensor:
    """Return integers [..., *shape] in [low, high), int64, as `jax.random.randint` (int32).

    >>> randint(key(0), (8,), 0, 9).tolist()
    [4, 3, 2, 1, 2, 3, 0, 8]
    """
    span = high - low
    if not 0 < span <= 2**31:
        raise ValueError(f"randint needs low < high <= low + 2**31, got low={low}, high={high}")
    # 64 random bits modulo the span: the high word counts 2**32 mod span times.
    multiplier = (2**16 % span) ** 2 % 2**32 % span
    words = bits(split(key), shape).movedim(key.ndim - 1, 0) % span
    return low + ((words[0] * multiplier & _MASK) + words[1] & _MASK) % span


def permutation(key: Tensor, n: int) -> Tensor:
    """Return a random order [..., n] of 0 ... n - 1, int64, as `jax.random.permutation`.

    It is a stable sort by random words, done twice for n above 1625, because words may be equal.

    >>> permutation(key(0), 10).tolist()
    [0, 1, 8, 5, 6, 4, 3, 2, 7, 9]
    """
    order = torch.arange(n, device=key.device).expand(*key.shape[:-1], n)
    for _ in range(math.ceil(3 * math.log(max(1, n)) / math.log(_MASK))):
        key, subkey = split(key).unbind(-2)
        places = torch.sort(bits(subkey, (n,)), stable=True).indices
        order = order.gather(-1, places)
    return order


def fast_bits(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return uniform 24-bit integers [..., *shape], int64 in [0, 2**24), for dropout and the like.

    A counter-based hash of 19 operations per element, which a compiler fuses into the operation
    that uses the bits; Threefry takes 140. Element i of a row depends only on the row's key and on
    i, 0 <= i < 2**31. These are not the bits of Threefry or JAX: do not derive keys from them.

    >>> fast_bits(key(0), (2,)).shape
    torch.Size([2])
    """
    high, low = _checked(key).unsqueeze(-2).unbind(-1)
    x = torch.arange(math.prod(shape), device=key.device)
    # A Weyl sequence from the first word of the key, one multiply-xorshift round, an xor with the
    # second word, and the two rounds of https://github.com/skeeto/hash-prospector (bias 0.107).
    # 2**32 is subtracted from multipliers above 2**31, so that no product with a 32-bit word
    # overflows 64 bits.
    x = (x * (0x9E3779B1 - 2**32) + high) & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = x ^ low
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * (0xD35A2D97 - 2**32)) & _MASK
    x = (x ^ (x >> 15)) >> (32 - _FAST_BITS)
    return x.reshape((*key.shape[:-1], *shape))


def fast_bernoulli(key: Tensor, p: float | Tensor, shape: Sequence[int]) -> Tensor:
    """Return booleans [..., *shape], True with probability p rounded to a multiple of 2**-24.

    It uses `fast_bits`. p is a float or a 0-d float tensor. Another value of the tensor does not
    recompile a compiled function.

    >>> fast_bernoulli(key(0), torch.tensor(1.0), (3,))
    tensor([True, True, True])
    """
    scaled = _float32(p) * 2.0**_FAST_BITS
    threshold = scaled.round().to(torch.int64) if isinstance(scaled, Tensor) else round(scaled)
    return fast_bits(key, shape) < threshold


def _checked(key: Tensor) -> Tensor:
    if key.dtype != torch.int64 or key.ndim == 0 or key.shape[-1] != 2:
        raise TypeError(
            "expected a key, an int64 tensor [..., 2] made by fnet.random.key, "
            f"got {key.dtype} of shape {tuple(key.shape)}"
        )
    return key


def _blocks(key: Tensor, n: int) -> Tensor:
    """Return the words [..., n, 2] of the blocks 0 ... n - 1 of each key."""
    return threefry2x32(_checked(key).unsqueeze(-2), torch.arange(n, device=key.device))


def _float32(value: float | Tensor) -> Any:
    """Round to float32; a Python number stays one, so that a compiler sees a constant."""
    if isinstance(value, Tensor):
        return value.to(torch.float32)
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**24), exponent - 24)
