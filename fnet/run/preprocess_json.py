"""Write a preprocessing to JSON values for `config.json`, and read it back."""

from dataclasses import asdict, is_dataclass
from typing import Any

from fnet.data import Normalize, PadResize, Preprocess
from fnet.run.typed_json import from_json


def preprocess_to_json(preprocess: Preprocess) -> Any:
    """Return the preprocess as JSON values; its repr if it is no dataclass."""
    if is_dataclass(preprocess) and not isinstance(preprocess, type):
        return asdict(preprocess)
    return repr(preprocess)


def preprocess_from_json(values: Any, built: Preprocess) -> Preprocess:
    """Return the recorded preprocess: one of fnet, or the one that the recipe builds.

    Args:
        values: the result of `preprocess_to_json`; for a repr, the result is `built`.
        built: the preprocess that the recipe builds now; it may be of any class.

    Raises:
        ValueError: it is neither.

    >>> from fnet.data import NORM_HALF
    >>> preprocess_from_json(preprocess_to_json(PadResize(4, NORM_HALF)), NORM_HALF).padding
    4
    """
    if not isinstance(values, dict) or _tuples(preprocess_to_json(built)) == _tuples(values):
        return built
    kind: type[PadResize] | type[Normalize] = PadResize if "then" in values else Normalize
    return from_json(kind, values)


def _tuples(value: Any) -> Any:
    """Return a JSON value with tuples for lists, as a frozen dataclass has them."""
    if isinstance(value, list | tuple):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return value
