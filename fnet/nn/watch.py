"""Snapshots of the Python state that a `forward` might change: attributes, classes, globals.

A snapshot is a dict of values that compare with `==`; its keys are the names for error messages.
"""

import collections
import itertools
import os
import random
import types
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fnet import private
from fnet.nn.names import names
from fnet.nn.structure import OF_RNNS, attributes, called, parts

# Caches of timm's LeViT and EfficientViT, filled in evaluation mode.
CACHES = frozenset({"attention_bias_cache"})
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (dict, list, tuple, set, frozenset, collections.deque, np.ndarray, Tensor)
# Packages whose classes and functions keep no state.
_KNOWN = frozenset({"torch", "torchvision", "builtins", "fnet"})
_MAX_ENTRIES = 1000  # of a global container; a larger one is not compared


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Return the state of all layers' attributes, their classes, and the globals that these use."""
    found: dict[str, Any] = {}
    classes: set[type] = set()
    for name, layer in module.named_modules():
        here = called(name, layer)
        for attribute, value in attributes(layer):
            if attribute.split("'")[1] not in CACHES:
                found[f"{attribute} of {here}"] = state_of(value)
            if isinstance(value, types.FunctionType):
                found.update(_of_function(value, f"{attribute} of {here}", set()))
        for cls in type(layer).__mro__:
            if cls.__module__.partition(".")[0] not in _KNOWN:
                classes.add(cls)
    for cls in classes:
        found.update(_of_class(cls, set()))
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Return the name of the first entry that differs, None if all are equal."""
    for name in {**after, **before}:
        if name not in before or name not in after or before[name] != after[name]:
            return name
    return None


def caches(module: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """Return where layers keep weights of a call: layer, attribute, value before the call."""
    found: list[tuple[nn.Module, str, Any]] = []
    for layer in module.modules():
        found += [(layer, name, None) for name in CACHES & vars(layer).keys()]
        if isinstance(layer, nn.RNNBase):
            found += [(layer, name, vars(layer)[name]) for name in OF_RNNS & vars(layer).keys()]
    return found


def restore(found: list[tuple[nn.Module, str, Any]]) -> None:
    """Restore these attributes after a call: the next call may have other weights."""
    for layer, name, value in found:
        setattr(layer, name, {} if value is None else value)


class _Same:
    """A wrapper that compares an object by identity, and a tensor also by its version counter."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.version = private.version(value) if isinstance(value, Tensor) else 0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same) and self.value is other.value and self.version == other.version
        )

    __hash__ = None  # type: ignore[assignment]


def state_of(value: Any) -> Any:
    """Return the contents of a value, recursively, in a form that compares with `==`.

    A tensor and a module count as the same if they are the same object, a tensor also by its
    version counter.
    """
    return _state(value, set())


def _state(value: Any, seen: set[int]) -> Any:
    if isinstance(value, _PLAIN):
        return type(value), value if value == value else "nan"
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().numpy())
    if isinstance(value, ContextVar):
        return _state(value.get(None), seen)
    if is_iterator(value):
        return type(value), _position(value, seen)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, nn.Module | Tensor | type | types.ModuleType) or id(value) in seen:
        return _Same(value)
    seen.add(id(value))
    if isinstance(value, dict):
        return [(key, _state(item, seen)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return set(value)
    if isinstance(value, collections.deque | list | tuple):
        return [_state(item, seen) for item in value]
    inside = [] if isinstance(value, types.MethodType) else parts(value)
    return [_Same(value), *[_state(item, seen) for item in inside]]


def is_iterator(value: Any) -> bool:
    """Return whether a value is an iterator of Python's own, whose position `state_of` finds."""
    cls = type(value)
    return hasattr(cls, "__next__") and cls.__module__ in ("builtins", "itertools")


def _position(value: Any, seen: set[int]) -> Any:
    """Return how far an iterator of Python's own has come, without a step of it."""
    if isinstance(value, types.GeneratorType):
        if value.gi_frame is None or id(value) in seen:
            return None
        seen.add(id(value))
        return value.gi_frame.f_lasti, _state(dict(value.gi_frame.f_locals), seen)
    if isinstance(value, itertools.count | itertools.repeat):
        return repr(value)
    if hasattr(value, "__length_hint__"):
        return value.__length_hint__()
    try:
        # What it is made of: other iterators, and a position (cycle, enumerate, zip, map).
        with warnings.catch_warnings(action="ignore"):
            return _state(value.__reduce__(), seen)
    except TypeError:  # an iterator that nothing can copy
        return _Same(value)


def _of_class(cls: type, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(cls) in seen:
        return
    seen.add(id(cls))
    for name, value in vars(cls).items():
        if not name.startswith("__") and _is_small(value):
            yield f"class attribute {cls.__name__}.{name}", state_of(value)
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, types.FunctionType):
            yield from _of_function(function, f"{cls.__name__}.{name}", seen)


def _of_function(
    function: Callable[..., Any], user: str, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    """Iterate over the globals, closed-over variables and default arguments of a function."""
    if id(function) in seen:
        return
    seen.add(id(function))
    assert isinstance(function, types.FunctionType)
    for name, value in vars(function).items():
        if _is_small(value) or _is_object(value):
            yield f"attribute {name!r} of function {function.__name__}", state_of(value)
    if "environ" in function.__code__.co_names:
        yield f"os.environ that {user} uses", dict(os.environ)
    for used in names(function):
        value, closed_over = used.value, used.text in function.__code__.co_freevars
        its_own = getattr(value, "__module__", None) == function.__module__
        if isinstance(value, types.FunctionType) and (its_own or closed_over):
            yield from _of_function(value, user, seen)
        elif closed_over:
            if _is_small(value):
                yield f"variable {used.text!r} that {user} closes over", state_of(value)
        elif isinstance(value, type) and its_own:
            yield from _of_class(value, seen)
        elif value is not None and (_is_small(value) or (its_own and _is_object(value))):
            yield f"global {used.text!r} that {user} uses", state_of(value)
    for value in function.__defaults__ or ():
        if _is_small(value) and not isinstance(value, _PLAIN):
            yield f"default argument of {user}", state_of(value)


def _is_object(value: Any) -> bool:
    if isinstance(value, nn.Module | types.FunctionType):
        return False
    return hasattr(value, "__dict__") or hasattr(type(value), "__slots__")


def _is_small(value: Any) -> bool:
    if isinstance(value, (*_PLAIN, *GENERATORS, types.SimpleNamespace, ContextVar)):
        return True
    if isinstance(value, np.ndarray | Tensor) or is_iterator(value):
        return True
    return isinstance(value, _CONTAINERS) and len(value) <= _MAX_ENTRIES
