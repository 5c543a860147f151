"""The names that a function's code uses, with their values."""

import dis
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ABSENT = type("Absent", (), {"__repr__": lambda self: "absent"})()
"""The value of a name that is not bound yet."""


# Instructions between those for a module's name and for its attribute (`module.count += 1`).
_BETWEEN = ("EXTENDED_ARG", "COPY", "DUP_TOP", "PUSH_NULL", "SWAP")


class Name(NamedTuple):
    """A name that code uses: a closed-over variable, a global, or an attribute of a module.

    `bind(value)` binds the name to another value and returns the previous one.
    """

    text: str
    held: str
    value: Any
    bind: Callable[[Any], Any]


def names(fn: types.FunctionType) -> Iterator[Name]:
    """Yield the names a function closes over, then the globals it uses, also in nested functions.

    For a module (`settings.scale`), it yields the attributes that the code uses.

    >>> import math
    >>> n = 3
    >>> [(name.text, name.value) for name in names(lambda x: x + n * math.pi)]
    [('n', 3), ('math.pi', 3.141592653589793)]
    """
    yield from closed_over(fn)
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    seen: set[str] = set()
    for name in _used(fn.__code__, fn, cells):
        if name.text not in seen:
            seen.add(name.text)
            yield name


def closed_over(fn: types.FunctionType) -> Iterator[Name]:
    """Yield the variables that a function closes over."""
    held = f"closed over by {fn.__qualname__}"
    for text, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        value = _content(cell)
        if not isinstance(value, types.ModuleType):
            yield Name(text, held, value, _cell_binder(cell))


def _used(
    code: types.CodeType, fn: types.FunctionType, cells: dict[str, types.CellType]
) -> Iterator[Name]:
    found = _instructions(code)
    for place, step in enumerate(found):
        text, op = step.argval, step.opname
        if op in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
            if text not in fn.__globals__ and op != "STORE_GLOBAL":
                continue  # a builtin
            space, value = fn.__globals__, fn.__globals__.get(text, ABSENT)
            name = Name(text, f"a global of {fn.__module__}", value, _binder(space, text))
        elif op == "LOAD_DEREF" and isinstance(_content(cells.get(text)), types.ModuleType):
            name = Name(text, "", _content(cells[text]), lambda value: value)
        else:
            continue
        for after in found[place + 1 :]:
            if not isinstance(name.value, types.ModuleType):
                break
            if after.opname not in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
                break
            module, attribute = name.value, after.argval
            value = getattr(module, attribute, ABSENT)
            text = f"{name.text}.{attribute}"
            held = f"a global of {module.__name__}"
            name = Name(text, held, value, _binder(vars(module), attribute))
        if not isinstance(name.value, types.ModuleType):
            yield name
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _used(constant, fn, cells)


@functools.lru_cache(maxsize=1024)
def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname not in _BETWEEN]


def _content(cell: types.CellType | None) -> Any:
    try:
        return ABSENT if cell is None else cell.cell_contents
    except ValueError:  # a variable without a value yet
        return ABSENT


def _cell_binder(cell: types.CellType) -> Callable[[Any], Any]:
    def bind(value: Any) -> Any:
        before, cell.cell_contents = cell.cell_contents, value
        return before

    return bind


def _binder(space: dict[str, Any], text: str) -> Callable[[Any], Any]:
    def bind(value: Any) -> Any:
        before, space[text] = space[text], value
        return before

    return bind
