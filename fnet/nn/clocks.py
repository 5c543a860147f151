"""A search of the code of a `forward` for other inputs than its arguments: clocks, entropy.

A run cannot show these: two runs differ, and so do the times at which they are made.
"""

import datetime
import dis
import os
import random
import secrets
import sys
import time
import types
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from fnet.nn.structure import attributes, called

_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_SOURCES = (
    *(getattr(time, name + unit) for name in _CLOCKS for unit in ("", "_ns")),
    *(datetime.datetime.now, datetime.datetime.utcnow, datetime.datetime.today),
    datetime.date.today,
    *(secrets.choice, secrets.randbelow, secrets.randbits, secrets.token_bytes, secrets.token_hex),
    *(os.urandom, uuid.uuid1, uuid.uuid4),
)
# Refused only where they are called with this number of arguments: they then take a seed from the
# operating system, or the time now.
_WITHOUT_SEED = (
    *(random.Random, random.SystemRandom),
    *(np.random.default_rng, np.random.RandomState, np.random.SeedSequence),
)
_OF_NOW = (time.localtime, time.gmtime, time.ctime, time.asctime)
_WITH_ARGUMENTS = {id(fn): 0 for fn in (*_WITHOUT_SEED, *_OF_NOW)} | {id(time.strftime): 1}
# Packages whose layers read no clock.
_KNOWN = frozenset({"torch", "torchvision"})


def first_clock(module: nn.Module) -> str | None:
    """Return a sentence's beginning on the first layer whose `forward` names a clock, or None.

    Looked at are `forward`, the methods and the functions of its own file that it calls by name,
    and functions that are attributes of the layer.
    """
    for name, layer in module.named_modules():
        functions = [value for _, value in attributes(layer)]
        if type(layer).__module__.partition(".")[0] not in _KNOWN:
            functions.append(type(layer).forward)
        seen = set[int]()
        for function in functions:
            for source in _named(function, type(layer), seen):
                return f"{called(name, layer)} calls {source}"
    return None


def _named(function: Any, owner: type, seen: set[int]) -> Iterator[str]:
    """Iterate over the sources that a function reaches, by the names in its code."""
    if not isinstance(function, types.FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    value: Any = None
    steps = list(dis.get_instructions(function))
    for place, step in enumerate(steps):
        if step.opname == "LOAD_GLOBAL":
            value = function.__globals__.get(step.argval)
        elif step.opname == "IMPORT_NAME":
            value = sys.modules.get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            if isinstance(value, types.ModuleType | type):
                value = getattr(value, step.argval, None)
            else:
                value = getattr(owner, step.argval, None)
        else:
            continue
        count = _WITH_ARGUMENTS.get(id(value))
        if count is not None:
            if _arguments(steps[place + 1 :]) == count:
                yield f"{value.__module__}.{value.__name__} without a seed or a time"
        elif isinstance(value, types.BuiltinFunctionType | types.MethodType | types.FunctionType):
            if value in _SOURCES:
                yield f"{value.__module__ or 'datetime'}.{value.__name__}"
            elif getattr(value, "__module__", None) == function.__module__:
                yield from _named(value, owner, seen)


def _arguments(steps: list[dis.Instruction]) -> int | None:
    """Return with how many arguments a loaded function is called at once, None if not so."""
    count = 0
    for step in steps:
        if step.opname == "CALL":
            return count if step.arg == count else None
        if step.opname.startswith(("LOAD_CONST", "LOAD_FAST")):
            count += 1
        elif step.opname not in ("PRECALL", "PUSH_NULL"):
            return None
    return None
