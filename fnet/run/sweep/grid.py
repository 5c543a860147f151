"""The grid of a sweep: several values of any options of a recipe, read from a command line."""

import difflib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field, fields, make_dataclass, replace
from typing import Any, NamedTuple, TypeAlias, get_origin, get_type_hints

import tyro

from fnet import files
from fnet.run.config import Config, ConfigError, option
from fnet.run.recipe import Recipe
from fnet.run.sweep.arms import Arm

MOST_ARMS = 1000
"""More arms than anybody means to train."""
MOST_BYTES = 120
"""The length of a label: it is a part of a directory's name, which may have 255 bytes."""

Occurrences: TypeAlias = list[tuple[str, list[str]]]
"""The options of a command line in order: each name without dashes, with the words that follow."""


class Grid(NamedTuple):
    """What a command line asks for: the arms, and the seeds if they were named."""

    arms: list[Arm]
    seeds: list[int]


def words(args: Iterable[str]) -> tuple[list[str], Occurrences]:
    """Return the words before the first option, and the options.

    >>> words(["net", "--lr", "0.1", "0.2", "--softmax"])
    (['net'], [('lr', ['0.1', '0.2']), ('softmax', [])])
    """
    first: list[str] = []
    options: Occurrences = []
    for word in args:
        if word.startswith("--") and len(word) > 2:
            name, given, value = word[2:].partition("=")
            options.append((name.replace("_", "-"), [value] if given else []))
        else:
            (options[-1][1] if options else first).append(word)
    return first, options


def grid(recipe: Recipe, variant: str, options: Occurrences) -> Grid:
    """Return one arm for each combination of the options' values.

    An option with several values is swept, one with one value is that of every arm. An option that
    takes several words (`--sizes 24 28`) or none (`--softmax`) is given once for each value.

    Args:
        recipe: the recipe.
        variant: the variant whose config has all other options.
        options: as returned by `words`.

    Raises:
        ConfigError: there is no such variant or option, a value is given twice, or there are too
            many combinations.
        SystemExit: a value is not of the option's type; the message is printed.
    """
    base = _of_variant(recipe, variant)
    found = _values(recipe, base, _fragments(recipe, base, options))
    seeds = found.pop("seed", [])
    fixed = {name: values[0] for name, values in found.items() if len(values) == 1}
    swept = {name: values for name, values in found.items() if len(values) > 1}
    if "out" in swept:
        raise ConfigError("--out is the directory in which that of the sweep is created: give one")
    base = replace(base, **fixed)
    chosen = [dict(zip(swept, each, strict=True)) for each in itertools.product(*swept.values())]
    arms = [
        Arm(recipe, label or variant, replace(base, **values), values=_as_json(values))
        for label, values in zip(_labels(chosen), chosen, strict=True)
    ]
    return Grid(arms, seeds)


def _of_variant(recipe: Recipe, variant: str) -> Config:
    name = recipe.variant(variant)
    if name not in recipe.variants:
        known = ", ".join(recipe.variants)
        raise ConfigError(f"there is no variant {name!r} of {recipe.name}: give one of {known}")
    config: Config = recipe.variants[name]
    return config


def _fragments(recipe: Recipe, base: Config, options: Occurrences) -> dict[str, list[list[str]]]:
    """Return, by the name of each given field, the command line of each of its values."""
    names = {option(each.name)[2:]: each.name for each in fields(base)}
    hints = get_type_hints(type(base))
    found: dict[str, list[list[str]]] = {}
    for name, given in options:
        flag = name.removeprefix("no-")
        known = name if name in names else flag
        if known not in names or (known != name and hints[names[known]] is not bool):
            near = difflib.get_close_matches(name, names, 1)
            hint = f": did you mean --{near[0]}?" if near else ""
            raise ConfigError(f"there is no option --{name} of {recipe.name}{hint}")
        found.setdefault(names[known], []).extend(_alternatives(name, given, hints[names[known]]))
    count = math.prod(len(values) for each, values in found.items() if each != "seed")
    if count > MOST_ARMS:
        raise ConfigError(f"a sweep has at most {MOST_ARMS} arms; these values give {count:,}")
    return found


def _values(
    recipe: Recipe, base: Config, fragments: dict[str, list[list[str]]]
) -> dict[str, list[Any]]:
    """Return the values of each given option, by the name of its field."""
    found: dict[str, list[Any]] = {}
    for name, lines in fragments.items():
        values = found.setdefault(name, [])
        # A class with this one field: tyro reads the whole config in 20 times the time.
        hint = get_type_hints(type(base), include_extras=True)[name]
        default = getattr(base, name)
        kind = make_dataclass("Option", [(name, hint, field(default=default))], frozen=True)
        for args in lines:
            value = getattr(tyro.cli(kind, prog=_prog(recipe), args=args), name)
            if value in values:
                raise ConfigError(f"{option(name)} is given the value {_text(value)} twice")
            values.append(value)
    return found


def _alternatives(name: str, given: Sequence[str], hint: Any) -> list[list[str]]:
    """Return the command line of each value of one occurrence of an option."""
    if get_origin(hint) is tuple:
        return [[f"--{name}", *given]]
    if hint is bool and given and set(given) <= {"True", "False"}:
        flag = name.removeprefix("no-")
        return [[f"--{flag}" if word == "True" else f"--no-{flag}"] for word in given]
    if hint is bool or not given:
        return [[f"--{name}", *given]]
    return [[f"--{name}", word] for word in given]


def _prog(recipe: Recipe) -> str:
    return f"python -m recipes.sweep {recipe.name}"


def _labels(chosen: Sequence[dict[str, Any]]) -> list[str]:
    """Return a label for each combination of values: short, and no two the same.

    >>> _labels([{"data": "a/b"}, {"data": "c"}])
    ['data=a_b', 'data=c']
    >>> _labels([{"data": "a/b"}, {"data": "a_b"}])
    ['data=a_b~aa510114', 'data=a_b~06469263']
    """
    plain = [
        ",".join(f"{option(name)[2:]}={_text(value)}" for name, value in values.items())
        for values in chosen
    ]
    # Some file systems do not distinguish upper and lower case.
    counts = Counter(label.casefold() for label in plain)
    return [
        label
        if counts[label.casefold()] == 1 and len(label.encode()) <= MOST_BYTES
        else f"{_shortened(label)}~{_checksum(values)}"
        for label, values in zip(plain, chosen, strict=True)
    ]


def _shortened(label: str) -> str:
    return label.encode()[: MOST_BYTES - 10].decode(errors="ignore")


def _checksum(values: dict[str, Any]) -> str:
    return files.checksum([json.dumps(_as_json(values)).encode()])[:8]


def _text(value: Any) -> str:
    """Return a value as a part of a file's name."""
    if isinstance(value, tuple):
        value = "+".join(map(str, value)) or "none"
    return str(value).replace("/", "_").strip("_") or "none"


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
