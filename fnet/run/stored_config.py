"""A recipe's config from the JSON that a run's record holds."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fnet.run.config import Config, ConfigError


def config_from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return the config that `dataclasses.asdict` and JSON have made these values of.

    Args:
        kind: the recipe's `Config`.
        values: its fields; lists become tuples again. One that is missing, because it is newer than
            the run, has its default.

    Raises:
        ConfigError: a field is unknown, or a choice is none of its own.

    >>> from dataclasses import asdict
    >>> config_from_json(Config, asdict(Config(epochs=3))).epochs
    3
    """
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ConfigError(
            f"the run's config has {', '.join(map(repr, sorted(unknown)))}, which its recipe has "
            "not: it was made with another version; open it with that version, or train again"
        )
    for name, hint in get_type_hints(kind).items():
        if name in values and not _is_of(tuples(values[name]), hint):
            raise ConfigError(
                f"the run's config has {values[name]!r} for {name!r}, which is {_kind(hint)}: it "
                "was made with another version; open it with that version, or train again"
            )
    return kind(**{name: tuples(value) for name, value in values.items()})


def _is_of(value: Any, hint: Any) -> bool:
    """Say whether a value is of the type that a config's field has."""
    match get_origin(hint):
        case None if hint is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case None if hint is int:
            return isinstance(value, int) and not isinstance(value, bool)
        case None:
            return isinstance(value, hint)
        case origin if origin is Literal:
            return value in get_args(hint)
        case origin if origin is tuple:
            return isinstance(value, tuple) and all(_is_of(x, get_args(hint)[0]) for x in value)
        case _:  # a union
            return any(_is_of(value, one) for one in get_args(hint))


def _kind(hint: Any) -> str:
    """Return the type of a config's field for people."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    return f"of type {hint.__name__ if isinstance(hint, type) else hint}"


def tuples(value: Any) -> Any:
    """Return a JSON value with tuples for lists."""
    if isinstance(value, list):
        return tuple(map(tuples, value))
    if isinstance(value, dict):
        return {name: tuples(inner) for name, inner in value.items()}
    return value
