"""Comparison of two results that should be equal up to rounding errors.

The effect of rounding differs between leaves. Adam divides a gradient by its magnitude: if the true
gradient is 0 (a bias before batch norm), the sign of a whole step depends on rounding alone. So the
effect on each leaf is measured, by changing the last bits of the arguments.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fnet import random, tree
from fnet.tree import Tree

RTOL, ATOL = 1e-4, 1e-5
_TRIALS = 2
_SAFETY = 4.0  # factor on the largest effect of rounding in the trials


class Rounding:
    """The measured effect of rounding on each leaf of a function's result, by path."""

    def __init__(
        self, fn: Callable[..., Tree], measure: bool, expected: Tree, params: Tree, *rest: Any
    ) -> None:
        """Measure how far `fn` of slightly changed params is from `expected = fn(params, *rest)`.

        If `measure` is False, the effect is taken as 0.
        """
        self.sizes: dict[str, float] = {}
        for trial in range(_TRIALS if measure else 0):
            other = fn(_jittered(params, trial), *rest)
            tree.map_with_path(self._measure, other, expected)

    def _measure(self, path: str, other: Any, leaf: Any) -> None:
        if not isinstance(leaf, Tensor) or not leaf.numel() or not _is_compared(leaf):
            return
        size = float((_wide(other) - _wide(leaf)).abs().nan_to_num(0.0).max())
        self.sizes[path] = max(size, self.sizes.get(path, 0.0))

    def first_difference(self, got: Tree, expected: Tree, rtol: float, atol: float) -> str | None:
        """Return a sentence that names the first leaf that differs by more, or None."""
        found: list[str] = []

        def compare(path: str, x: Any, y: Any) -> None:
            allowed = atol + _SAFETY * self.sizes.get(path, 0.0)
            difference = tree.first_difference({path: x}, {path: y}, rtol=rtol, atol=allowed)
            if difference is not None:
                found.append(difference)

        try:
            tree.map_with_path(compare, got, expected)
        except ValueError as error:
            return str(error)
        return found[0] if found else None


def _jittered(params: Tree, trial: int) -> Tree:
    """Return the params with each float changed by up to four units in its last place."""

    def jitter(path: str, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        key = random.fold_in(random.key(trial, leaf.device), len(path))
        noise = random.uniform(key, leaf.shape, -4.0, 4.0).to(leaf.dtype)
        return torch.empty_like(leaf).copy_(leaf * (1 + torch.finfo(leaf.dtype).eps * noise))

    return tree.map_with_path(jitter, params)


def _is_compared(leaf: Tensor) -> bool:
    return leaf.dtype != torch.bool and not leaf.is_complex()


def _wide(leaf: Tensor) -> Tensor:
    return leaf.detach().to(torch.float64)
