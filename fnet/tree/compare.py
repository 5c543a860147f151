"""Comparison of trees of tensors, with a message that names the first difference."""

from typing import Any

import torch
from torch import Tensor

from fnet.tree.walk import Tree, map_with_path


def first_difference(a: Tree, b: Tree, *, rtol: float = 0.0, atol: float = 0.0) -> str | None:
    """Return a sentence that names the first leaf that differs, or None if the trees are equal.

    The structure is compared first; then, leaf by leaf, type, shape, dtype, device and values.
    Values differ if |a - b| > atol + rtol * |b|, as in `numpy.allclose`; if both tolerances are 0,
    NaN equals NaN.

    >>> first_difference({"bias": torch.tensor([1.0, 2.0])}, {"bias": torch.tensor([1.0, 2.5])})
    "'bias': 1 of 2 values differ, most at [1]: 2.0 against 2.5"
    """
    pairs = _pairs(a, b)
    if isinstance(pairs, str):
        return pairs
    for path, x, y in pairs:
        difference = _kind_difference(x, y) or _value_difference(x, y, rtol, atol)
        if difference is not None:
            return f"{path!r}: {difference}"
    return None


def first_layout_difference(a: Tree, b: Tree) -> str | None:
    """Return a sentence that names the first leaf with another layout, or None.

    The layout is the tree's structure, and the shape, dtype, device and strides of each leaf.
    Values are not compared.

    >>> first_layout_difference({"weight": torch.ones(3, 2)}, {"weight": torch.ones(2, 3).T})
    "'weight': strides (2, 1) against (1, 3)"
    """
    pairs = _pairs(a, b)
    if isinstance(pairs, str):
        return pairs
    for path, x, y in pairs:
        difference = _kind_difference(x, y)
        if difference is None and isinstance(x, Tensor) and x.stride() != y.stride():
            difference = f"strides {x.stride()} against {y.stride()}"
        if difference is not None:
            return f"{path!r}: {difference}"
    return None


def equal(a: Tree, b: Tree) -> bool:
    """Return whether two trees have the same structure, shapes, dtypes, devices and values.

    >>> equal({"a": torch.ones(2)}, {"a": torch.ones(2)})
    True
    """
    return first_difference(a, b) is None


def assert_equal(a: Tree, b: Tree) -> None:
    """Raise an AssertionError with the first difference, unless the trees are equal."""
    assert_close(a, b, rtol=0.0, atol=0.0)


def assert_close(a: Tree, b: Tree, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Raise an AssertionError with the first difference beyond the tolerances, if there is one."""
    difference = first_difference(a, b, rtol=rtol, atol=atol)
    if difference is not None:
        raise AssertionError(difference)


def _pairs(a: Tree, b: Tree) -> list[tuple[str, Any, Any]] | str:
    """Return the pairs of leaves with their path, or a message if the structures differ."""
    pairs: list[tuple[str, Any, Any]] = []
    try:
        map_with_path(lambda path, x, y: pairs.append((path, x, y)), a, b)
    except ValueError as error:
        return str(error)
    return pairs


def _kind_difference(x: Any, y: Any) -> str | None:
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        return None if type(x) is type(y) else f"{type(x).__name__} against {type(y).__name__}"
    for name in ("shape", "dtype", "device"):
        if getattr(x, name) != getattr(y, name):
            return f"{name} {_text(getattr(x, name))} against {_text(getattr(y, name))}"
    return None


def _value_difference(x: Any, y: Any, rtol: float, atol: float) -> str | None:
    if not isinstance(x, Tensor):
        return None if x == y or (rtol == atol == 0 and x != x and y != y) else f"{x} against {y}"
    wide = torch.complex128 if x.is_complex() else torch.float64
    distance = (x.detach().to(wide) - y.detach().to(wide)).abs()
    if rtol == atol == 0:
        differs = (x != y) & ~((x != x) & (y != y))
    else:
        # infinity - infinity is NaN, which is not within any tolerance
        differs = (x != y) & ~(distance <= atol + rtol * y.detach().to(wide).abs())
    if not differs.any():
        return None
    distance = torch.where(differs, distance.nan_to_num(nan=torch.inf), -1.0)
    index = [int(i) for i in torch.unravel_index(distance.argmax(), x.shape)]
    count = int(differs.sum())
    where = f"{count} of {x.numel()} values differ, most at {index}: " if x.ndim else ""
    return f"{where}{x[tuple(index)].item()} against {y[tuple(index)].item()}"


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, torch.Size) else str(value)
