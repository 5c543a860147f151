"""The values that a function can reach besides its arguments: variables, globals, attributes.

A place is one value with a name that a reader can find: "counter.calls (closed over by step)". The
walk enters functions, methods, partials, default arguments, containers, instances and their
classes. It does not enter the globals of installed packages and of fnet itself.
"""

import functools
import random as python_random
import sys
import sysconfig
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fnet.nn.names import Name, closed_over, names
from fnet.testing.clock import is_clock

_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
_GLOBAL = [fn.__self__ for fn in (python_random.random, np.random.random)]  # type: ignore[attr-defined]
_MAX_ENTRIES = 1000  # of one container; further entries are not visited


class Place(NamedTuple):
    """A value that a function can reach.

    Attributes:
        name: a description of the place.
        value: the value.
        own: False if the value belongs to fnet or an installed package. These may fill a cache at
            the first call, and their constants are never written to.
    """

    name: str
    value: Any
    own: bool


class Reach(NamedTuple):
    """The places that a function can reach, and a function to rebind each name of a clock."""

    places: list[Place]
    clocks: list[Callable[[Any], Any]]


def reach(fn: Callable[..., Any]) -> Reach:
    """Return the values that a function can reach besides its arguments.

    >>> reach(functools.partial(sum, start=3)).places[-1].name
    "partial.keywords['start'] (what is called)"
    """
    walk = _Walk()
    walk.visit(fn, getattr(fn, "__qualname__", type(fn).__qualname__), "what is called", True)
    return Reach(walk.places, walk.clocks)


class _Walk:
    def __init__(self) -> None:
        self.places: list[Place] = []
        self.clocks: list[Callable[[Any], Any]] = []
        # By id; it references the objects, so that no id is reused. The global generators are
        # excluded.
        self.seen: dict[int, Any] = {id(generator): generator for generator in _GLOBAL}

    def visit(self, value: Any, text: str, held: str, own: bool) -> None:
        if not isinstance(value, _SCALARS):
            if id(value) in self.seen or isinstance(value, types.ModuleType):
                return
            self.seen[id(value)] = value
        self.places.append(Place(f"{text} ({held})", value, own))
        for part, inner, inner_own in _parts(value, own):
            if isinstance(part, Name):
                if is_clock(inner):
                    self.clocks.append(part.bind)
                self.visit(inner, part.text, part.held, inner_own)
            else:
                self.visit(inner, f"{text}{part}", held, inner_own)


def _parts(value: Any, own: bool) -> Iterator[tuple[str | Name, Any, bool]]:
    """Yield the parts of a value: how each is reached, the part, and whether the user owns it."""
    if isinstance(value, (*_SCALARS, Tensor, np.ndarray)):
        return
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value, own)
    elif isinstance(value, types.MethodType):
        yield "", value.__self__, own
        yield "", value.__func__, own
    elif isinstance(value, functools.partial):
        for part in ("func", "args", "keywords"):
            yield f".{part}", getattr(value, part), own
    elif isinstance(value, staticmethod | classmethod):
        yield "", value.__func__, own
    elif isinstance(value, property):
        yield "", value.fget, own
    elif isinstance(value, Mapping):
        for key, inner in list(value.items())[:_MAX_ENTRIES]:
            yield f"[{key!r}]", inner, own
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, inner in zip(value._fields, value, strict=True):
            yield f".{name}", inner, own
    elif isinstance(value, list | tuple | deque):
        for index, inner in enumerate(list(value)[:_MAX_ENTRIES]):
            yield f"[{index}]", inner, own
    elif isinstance(value, types.GeneratorType):
        if value.gi_frame is not None:
            for name, inner in value.gi_frame.f_locals.items():
                yield f", its {name}", inner, own
    elif isinstance(value, type):
        if _owner(value.__module__) == "user":
            for name, inner in vars(value).items():
                if callable(inner) or not name.startswith("__"):
                    yield f".{name}", getattr(inner, "__func__", inner), True
    else:
        yield from _parts_of_instance(value, own)


def _parts_of_function(fn: types.FunctionType, own: bool) -> Iterator[tuple[str | Name, Any, bool]]:
    owner = _owner(fn.__module__)
    wrapped = vars(fn).get("__wrapped__")
    if wrapped is not None:
        yield "", wrapped, own
    # torch.compile and vmap return functions with the module and name of their argument.
    if not _is_in_packages(fn.__code__.co_filename) and owner == "user":
        for name in names(fn):
            yield name, name.value, True
        for place, default in enumerate(fn.__defaults__ or ()):
            yield f", default {place}", default, True
        for text, default in (fn.__kwdefaults__ or {}).items():
            yield f", default of {text}", default, True
        for text, inner in vars(fn).items():
            if text != "__wrapped__":
                yield f".{text}", inner, True
    else:
        for name in closed_over(fn):
            functions = types.FunctionType | types.MethodType | functools.partial
            if owner == "fnet" or isinstance(name.value, functions):
                yield name, name.value, False


def _parts_of_instance(value: Any, own: bool) -> Iterator[tuple[str | Name, Any, bool]]:
    kind = type(value)
    owner = _owner(kind.__module__)
    if isinstance(value, nn.Module | torch.optim.Optimizer | threading.local):
        pass  # it belongs to the owner of its container
    elif owner == "packages":
        wrapped = getattr(value, "__wrapped__", None)  # functools.cache
        if isinstance(wrapped, types.FunctionType):
            yield "", wrapped, own
        return
    else:
        own = owner == "user"
    for name, inner in list(getattr(value, "__dict__", {}).items()):
        yield f".{name}", inner, own
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                yield f".{name}", getattr(value, name), own
        if owner == "user" and _owner(base.__module__) == "user":
            yield f", its class {base.__name__}", base, True


@functools.cache
def _owner(module: str | None) -> str:
    """Return the owner of a module: "fnet", "packages" (incl. the standard library), or "user"."""
    top = (module or "builtins").partition(".")[0]
    if top == "fnet":
        return "fnet"
    if top in sys.stdlib_module_names - {"__main__"}:
        return "packages"
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return "packages" if file is not None and _is_in_packages(file) else "user"


def _is_in_packages(file: str) -> bool:
    return file.startswith(tuple(sysconfig.get_path(name) for name in ("purelib", "platlib")))
