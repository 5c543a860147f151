"""How fast the machine multiplies matrices at this moment: by this a timing is judged."""

import time
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from recipes.bench.devices import waiting

Gemm: TypeAlias = dict[str, float]
"""GFLOP/s by precision."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LEAST = 3


def gemm(
    device: str = "cpu",
    precisions: Sequence[Literal["fp32", "bf16"]] = ("fp32",),
    *,
    size: int = 2048,
    seconds: float = 0.25,
) -> Gemm:
    """Return the GFLOP/s of the fastest of several matrix products.

    Args:
        device: where to multiply.
        precisions: of the matrices.
        size: of the matrices, `size` x `size`.
        seconds: how long to go on for each precision; at least three products.

    >>> sorted(gemm(precisions=("fp32", "bf16"), size=8, seconds=0))
    ['bf16', 'fp32']
    """
    wait = waiting(device)
    found: Gemm = {}
    for precision in precisions:
        values = torch.linspace(-1, 1, size**2, device=device, dtype=_DTYPES[precision])
        matrix = values.view(size, size)
        times: list[float] = []
        while len(times) < _LEAST or sum(times) < seconds:
            wait(None)
            begin = time.perf_counter()
            wait(matrix @ matrix)
            times.append(time.perf_counter() - begin)
        found[precision] = 2 * size**3 / min(times) / 1e9
    return found
