"""Snapshots of the values that a function can reach besides its arguments, to detect changes."""

import types
from collections import deque
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fnet import tree
from fnet.nn.watch import GENERATORS, is_iterator, state_of
from fnet.testing.reach import reach


class Remembered(NamedTuple):
    """The value of a place, and a copy of its state to detect a change."""

    own: bool
    value: Any
    state: Any


def remember(fn: Callable[..., Any]) -> dict[str, Remembered]:
    """Return copies of the values that a function can reach besides its arguments, by name."""
    found: dict[str, Remembered] = {}
    for name, value, own in reach(fn).places:
        count = 2
        unique = name
        while unique in found:  # two functions with the same name
            unique, count = f"{name} #{count}", count + 1
        found[unique] = Remembered(own, value, _state(value))
    return found


def first_change(
    before: dict[str, Remembered], after: dict[str, Remembered], *, own_only: bool
) -> str | None:
    """Return a sentence that names the first place whose value changed, or None."""
    for name, (own, value, state) in before.items():
        if own_only and not own:
            continue
        if name not in after:
            return f"{name} is gone"
        now = after[name]
        if isinstance(state, Tensor) and isinstance(now.state, Tensor):
            difference = tree.first_difference({name: now.state}, {name: state})
            difference = difference or first_other_bits({name: now.state}, {name: state})
            difference = difference or tree.first_layout_difference(
                {name: now.value}, {name: value}
            )
            if difference is not None:
                return f"{difference} (after against before)"
        elif type(state) is not type(now.state) or state != now.state:
            return f"{name} was {_text(value, state)}, and is {_text(now.value, now.state)}"
    for name, now in after.items():
        if name not in before and (now.own or not own_only):
            return f"{name} was not there before"
    return None


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of one shape and dtype hold the same bytes: -0.0 is not 0.0.

    >>> same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    False
    """
    return torch.equal(_bytes(a), _bytes(b))


def first_other_bits(a: tree.Tree, b: tree.Tree) -> str | None:
    """Return a phrase that names the first tensor with other bits, for trees of one structure."""
    found: list[str] = []

    def compare(path: str, x: Any, y: Any) -> None:
        if isinstance(x, Tensor) and has_data(x) and not same_bits(x, y):
            found.append(f"{path!r}: other bits")

    tree.map_with_path(compare, a, b)
    return found[0] if found else None


def has_data(tensor: Tensor) -> bool:
    """Return whether a tensor has values to compare: it is strided, and not on the meta device."""
    return tensor.layout == torch.strided and tensor.device.type != "meta" and _is_plain(tensor)


def copied(tensor: Tensor) -> Tensor:
    """Return a detached copy of a tensor with the same values, shape and strides."""
    source = tensor.detach()
    if not has_data(source):
        return source
    if any(s == 0 and n > 1 for s, n in zip(source.stride(), source.shape, strict=True)):
        dims = zip(source.stride(), source.shape, strict=True)
        narrow = tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in dims)
        return copied(source[narrow]).expand(source.shape)
    copy = torch.empty_strided(
        source.shape, source.stride(), dtype=source.dtype, device=source.device
    )
    return copy.copy_(source)


def copies(state: tree.Tree) -> tree.Tree:
    """Return a tree with copies of its tensors; they require gradients if the originals do."""

    def copy(leaf: Any) -> Any:
        return copied(leaf).requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf

    return tree.map(copy, state)


def _bytes(tensor: Tensor) -> Tensor:
    compact = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return compact.copy_(tensor.detach()).reshape(-1).view(torch.uint8)


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, torch.nn.Parameter, torch.nn.Buffer)


def _state(value: Any) -> Any:
    """Return a form of a value to compare later: a copy of a tensor, or a tuple for `==`."""
    if isinstance(value, Tensor):
        return copied(value) if has_data(value) else (type(value), id(value))
    if isinstance(value, types.FunctionType | types.MethodType | type):
        return type(value), id(getattr(value, "__func__", value))
    if isinstance(value, Mapping):
        return type(value), [key if isinstance(key, str | int) else id(key) for key in value]
    if isinstance(value, Set):
        return type(value), sorted(map(repr, value))
    if isinstance(value, list | tuple | deque):
        return type(value), len(value)
    if isinstance(value, ContextVar):
        return type(value), repr(value.get(None))
    if isinstance(value, types.GeneratorType):  # its variables are places of their own
        return type(value), value.gi_frame is None or value.gi_frame.f_lasti
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return type(value), repr(value)
    if is_iterator(value):
        return state_of(value)
    if isinstance(value, (np.ndarray, *GENERATORS)):
        return type(value), state_of(value)
    return type(value), id(value)


def _text(value: Any, state: Any) -> str:
    if isinstance(state, tuple) and isinstance(value, list | tuple | deque | Mapping):
        return f"a {type(value).__name__} of {len(value)} entries" if state else ""
    named = isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], str)
    text = state[1] if named else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
