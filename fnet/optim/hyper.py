"""Hyper-parameters as tensors in the optimizer state: read, replaced and logged between steps.

Each hyper-parameter of a transformation is given as a number or a `Schedule`. Numbers become
tensors, which `set_hyper` replaces without recompilation. For a schedule, the state records the
last value used.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import State
from fnet.optim.schedules import Schedule
from fnet.tree import Tree

Hyper: TypeAlias = float | Schedule


class HyperState(NamedTuple):
    """The hyper-parameters of one transformation.

    count: the number of updates made so far, int64 0-d.
    values: hyper-parameters given as numbers, float64 0-d; the next update uses them.
    scheduled: values of hyper-parameters given as schedules, float64 0-d, as the last update used
        them.
    """

    count: Tensor  # type: ignore[assignment]  # it hides tuple.count, as in optax
    values: dict[str, Tensor]
    scheduled: dict[str, Tensor]


class Hypers:
    """The hyper-parameters that one transformation was built with, by name."""

    def __init__(self, lowest: float = 0.0, /, **hyper: Hyper):
        """Take each hyper-parameter: a number that is at least `lowest`, or a schedule."""
        for name, value in hyper.items():
            if callable(value):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number or a schedule; got {value!r}")
            if math.isnan(value) or value < lowest:
                right = "a number" if lowest == -math.inf else f"at least {lowest:g}"
                raise ValueError(f"{name} is {right}; got {value}")
        self.numbers = {name: float(v) for name, v in hyper.items() if not callable(v)}
        self.schedules = {name: v for name, v in hyper.items() if callable(v)}

    def init(self, params: Tree) -> HyperState:
        """Return the state before the first update, on the device of the params."""
        device = next((leaf.device for leaf in tree.leaves(params)), None)
        count = torch.zeros((), dtype=torch.int64, device=device)
        numbers = {
            name: torch.full((), value, dtype=torch.float64, device=device)
            for name, value in self.numbers.items()
        }
        return HyperState(count, numbers, self._scheduled(count))

    def advance(self, state: HyperState) -> tuple[dict[str, Tensor], HyperState]:
        """Return the values that this update uses, by name, and the state after it."""
        scheduled = self._scheduled(state.count)
        return {**state.values, **scheduled}, HyperState(state.count + 1, state.values, scheduled)

    def _scheduled(self, count: Tensor) -> dict[str, Tensor]:
        return {
            name: torch.as_tensor(schedule(count), dtype=torch.float64, device=count.device)
            for name, schedule in self.schedules.items()
        }


def require_decays(**decays: Hyper) -> None:
    """Raise a ValueError that names the first decay of 1 or more: the average would never change.

    Schedules are not checked.
    """
    for name, decay in decays.items():
        if not callable(decay) and decay >= 1:
            raise ValueError(f"{name} is the decay of an average, in [0, 1); got {decay}")


def hypers(state: State) -> dict[str, Tensor]:
    """Return all hyper-parameters in an optimizer state by name, for logging.

    A name is prefixed with the labels of the `partition`s around it ("decay/learning_rate"). Only
    if two names would be equal, it is also prefixed with the indices in the `chain`s
    ("0/momentum").

    >>> from fnet import optim
    >>> params = {"w": torch.zeros(2)}
    >>> {name: value.item() for name, value in hypers(optim.sgd(0.1).init(params)).items()}
    {'weight_decay': 0.0, 'learning_rate': 0.1, 'lr_scale': 1.0}
    """
    found = _find(state)
    return {name: found[path][0] for name, path in _names(found).items()}


def get_hyper(state: State, name: str) -> Tensor:
    """Return a hyper-parameter: the value that was set, or the schedule's last value.

    Args:
        state: the state of any transformation, which may be nested.
        name: the hyper-parameter's name, prefixed with as many labels (or indices in chains) of
            its path as needed to be unique: "learning_rate", "no_decay/learning_rate".

    Raises:
        ValueError: the name matches none or several; the message lists all names.
    """
    return _find(state)[_select(state, name)][0]


def set_hyper(state: State, name: str, value: float | Tensor) -> State:
    """Return the state with one hyper-parameter replaced; the next update uses the new value.

    Args:
        state: the state of any transformation, which may be nested.
        name: as in `get_hyper`.
        value: a number, or a tensor that broadcasts to the old value (one number per model, if
            the state is a stacked one of several models).

    Raises:
        ValueError: the name matches none or several (the message lists all names), or the value
            comes from a schedule, or does not broadcast.

    >>> from fnet import optim
    >>> state = optim.sgd(0.1).init({"w": torch.zeros(2)})
    >>> get_hyper(set_hyper(state, "learning_rate", 0.05), "learning_rate").item()
    0.05
    """
    target = _select(state, name)
    old, scheduled = _find(state)[target]
    if scheduled:
        raise ValueError(
            f"{target!r} follows a schedule, which would overwrite a value set here: change the "
            "schedule, or for the learning rate set 'lr_scale', which multiplies it"
        )
    new = torch.as_tensor(value, dtype=old.dtype, device=old.device)
    try:
        new = new.expand(old.shape).clone()
    except RuntimeError:
        raise ValueError(
            f"{target!r} has shape {tuple(old.shape)}, which a value of shape {tuple(new.shape)} "
            "does not broadcast to: give one number, or one for each model of a stacked state"
        ) from None

    def replace(path: str, node: HyperState) -> HyperState:
        values = {key: new if path + key == target else v for key, v in node.values.items()}
        return node._replace(values=values)

    return _map_nodes(replace, state)


def at_count(state: State, count: Tensor) -> State:
    """Return the state with its update counts set to `count`; schedules continue at that step.

    Only the counts of hyper-parameters change. Momenta and other statistics stay as they are.

    Args:
        state: the state of any transformation, however nested.
        count: int64 0-d.

    >>> from fnet import optim
    >>> tx = optim.sgd(optim.schedules.linear(1.0, 0.0, 4))
    >>> params = {"w": torch.zeros(2)}
    >>> _, state = tx.update(params, at_count(tx.init(params), torch.tensor(3)), params)
    >>> get_hyper(state, "learning_rate").item()
    0.25
    """
    return _map_nodes(lambda path, node: node._replace(count=count), state)


def _find(state: State) -> dict[str, tuple[Tensor, bool]]:
    """Return every hyper-parameter by full path: its value, and whether it is scheduled."""
    found: dict[str, tuple[Tensor, bool]] = {}

    def record(path: str, node: HyperState) -> HyperState:
        found.update({path + name: (value, False) for name, value in node.values.items()})
        found.update({path + name: (value, True) for name, value in node.scheduled.items()})
        return node

    _map_nodes(record, state)
    return found


def _map_nodes(fn: Callable[[str, HyperState], HyperState], state: Any, path: str = "") -> Any:
    """Return `state` with `fn(path, node)` in place of every HyperState.

    The path consists of dict keys and tuple indices, each followed by "/". The field names of
    NamedTuples are not part of it: users do not have to know them.
    """
    if isinstance(state, HyperState):
        return fn(path, state)
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(_map_nodes(fn, inner, path) for inner in state))
    if isinstance(state, tuple):
        return tuple(_map_nodes(fn, inner, f"{path}{i}/") for i, inner in enumerate(state))
    if type(state) is dict:
        return {key: _map_nodes(fn, inner, f"{path}{key}/") for key, inner in state.items()}
    return state


def _names(paths: Iterable[str]) -> dict[str, str]:
    """Return the names that `hypers` lists, each mapped to its full path."""
    short = {path: "/".join(p for p in path.split("/") if not p.isdigit()) for path in paths}
    times = Counter(short.values())
    return {name if times[name] == 1 else path: path for path, name in short.items()}


def _select(state: State, name: str) -> str:
    """Return the one full path that `name` matches; a name that `hypers` lists matches only one."""
    names = _names(_find(state))
    if name in names:
        return names[name]
    matches = [path for path in names.values() if _fits(name.split("/"), path.split("/"))]
    if len(matches) == 1:
        return matches[0]
    problem = "several hyper-parameters are" if matches else "there is no hyper-parameter"
    raise ValueError(f"{problem} called {name!r}; the names are {', '.join(names)}")


def _fits(name: list[str], path: list[str]) -> bool:
    """Return whether `name` is a subsequence of `path`, and both have the same last part."""
    remaining = iter(path)
    return name[-1] == path[-1] and all(part in remaining for part in name)
