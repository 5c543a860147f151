"""Calibration: the current speed of matrix products, to detect other load on the machine."""

import time
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from recipes.bench.devices import waiting

Gemm: TypeAlias = dict[str, float]
"""GFLOP/s by precision."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MIN_PRODUCTS = 3


def gemm(
    device: str = "cpu",
    precisions: Sequence[Literal["fp32", "bf16"]] = ("fp32",),
    *,
    size: int = 2048,
    seconds: float = 0.25,
) -> Gemm:
    """Return the GFLOP/s of the fastest of several matrix products.

    Args:
        device: the device of the matrices.
        precisions: the precisions to measure.
        size: the matrices are `size` x `size`.
        seconds: the duration for each precision, at least three products.

    >>> sorted(gemm(precisions=("fp32", "bf16"), size=8, seconds=0))
    ['bf16', 'fp32']
    """
    wait = waiting(device)
    found: Gemm = {}
    for precision in precisions:
        values = torch.linspace(-1, 1, size**2, device=device, dtype=_DTYPES[precision])
        matrix = values.view(size, size)
        times: list[float] = []
        while len(times) < _MIN_PRODUCTS or sum(times) < seconds:
            wait(None)
            begin = time.perf_counter()
            wait(matrix @ matrix)
            times.append(time.perf_counter() - begin)
        found[precision] = 2 * size**3 / min(times) / 1e9
    return found
