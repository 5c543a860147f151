"""Conversion of dataclasses to JSON and back, with strict type checks.

A string is not accepted as a number; unknown and missing keys are errors. A dataclass checks bounds
in its `__post_init__`.
"""

import reprlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import cattrs
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn

_T = TypeVar("_T")

ALWAYS = {"always": True}
"""For a number or text that older records lack: its default is what these mean by that."""


def to_json(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values, without the fields that have their default value.

    A field with the metadata `ALWAYS` is never left out.
    """
    values: dict[str, Any] = _CONVERTER.unstructure(value)
    always = (field.name for field in fields(value) if field.metadata == ALWAYS)
    return values | {name: getattr(value, name) for name in always}


def from_json(kind: type[_T], values: Any) -> _T:
    """Return the dataclass from JSON values: the inverse of `to_json`.

    Raises:
        ValueError: the values do not fit the types: "has '3' for 'epochs', not an integer".

    >>> from dataclasses import make_dataclass
    >>> from_json(make_dataclass("Config", [("epochs", int)]), {"epochs": "3"})
    Traceback (most recent call last):
    ValueError: has '3' for 'epochs', not an integer
    """
    try:
        return _CONVERTER.structure(values, kind)
    except (ValueError, TypeError, ClassValidationError, StructureHandlerNotFoundError) as error:
        raise ValueError(_sentence(error, "")) from None


def _sentence(error: BaseException, key: str) -> str:
    """Return the first mismatch as the end of a sentence: "has no 'recipe'"."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, others = error.group_exceptions()
        if noted:
            inner, note = noted[0]
            name = getattr(note, "name", None) or getattr(note, "index", "")
            return _sentence(inner, f"{key}/{name}" if key else str(name))
        return _sentence(others[0], key)
    where = f" in {key!r}" if key else ""
    if isinstance(error, KeyError):
        return f"has no {key!r}"
    if isinstance(error, ForbiddenExtraKeysError):
        names = ", ".join(map(reprlib.repr, sorted(error.extra_fields, key=str)))
        return f"has {names}{where}, which this version does not know"
    if isinstance(error, _MismatchError):
        return f"has {error.shown} for {key!r}, not {error.expected}" if key else str(error)
    return str(error)


class _MismatchError(ValueError):
    """A value of the wrong type."""

    def __init__(self, value: object, expected: str) -> None:
        self.shown, self.expected = reprlib.repr(value), expected
        super().__init__(f"is {self.shown}, not {expected}")


def _strict(expected: str, check: Callable[[Any], bool]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, kind: Any) -> Any:
        if not check(value):
            raise _MismatchError(value, expected)
        return kind(value)

    return structure


def _is_number(value: Any) -> bool:
    return type(value) is float or _is_integer(value)


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _of_literal(hint: Any) -> Callable[[Any, Any], Any]:
    choices = get_args(hint)

    def structure(value: Any, _: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise _MismatchError(value, f"one of {', '.join(map(repr, choices))}")
        return value

    return structure


def _of_union(hint: Any) -> Callable[[Any, Any], Any]:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]

    def structure(value: Any, _: Any) -> Any:
        if value is None and NoneType in get_args(hint):
            return None
        for kind in kinds[:-1]:
            try:
                return _CONVERTER.structure(value, kind)
            except (ValueError, ClassValidationError):
                continue
        return _CONVERTER.structure(value, kinds[-1])

    return structure


def _of_tuple(hint: Any) -> Callable[[Any, Any], Any]:
    kinds = get_args(hint)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _MismatchError(value, "a list")
        of_each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(value) != len(of_each):
            raise _MismatchError(value, f"a list of {len(of_each)}")
        pairs = zip(value, of_each, strict=True)
        return tuple([_CONVERTER.structure(inner, kind) for inner, kind in pairs])

    return structure


def _of_dict(hint: Any) -> Callable[[Any, Any], Any]:
    kind = get_args(hint)[1]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(value, "an object")
        return {name: _CONVERTER.structure(inner, kind) for name, inner in value.items()}

    return structure


def _of_dataclass(kind: Any) -> Callable[[Any, Any], Any]:
    fill = make_dict_structure_fn(kind, _CONVERTER, _cattrs_forbid_extra_keys=True)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(value, "an object")
        return fill(value, kind)

    return structure


def _has_origin(origin: Any, hint: Any) -> bool:
    return get_origin(hint) is origin


_CONVERTER = cattrs.Converter(forbid_extra_keys=True, omit_if_default=True)
_CONVERTER.register_structure_hook(bool, _strict("true or false", lambda v: type(v) is bool))
_CONVERTER.register_structure_hook(int, _strict("an integer", _is_integer))
_CONVERTER.register_structure_hook(float, _strict("a number", _is_number))
_CONVERTER.register_structure_hook(str, _strict("a text", lambda v: type(v) is str))
for _origin, _factory in (
    (Literal, _of_literal),
    (Union, _of_union),
    (UnionType, _of_union),
    (tuple, _of_tuple),
    (dict, _of_dict),
):
    _CONVERTER.register_structure_hook_factory(partial(_has_origin, _origin), _factory)
_CONVERTER.register_structure_hook_factory(
    lambda hint: isinstance(hint, type) and is_dataclass(hint), _of_dataclass
)
