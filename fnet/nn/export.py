"""Conversion of parameters into an ordinary `nn.Module`, and back from its `state_dict`."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from fnet.nn.check import network_of
from fnet.nn.dropout import is_dropout_rate, keyed
from fnet.nn.errors import ModelError
from fnet.nn.leaves import Leaves, is_step_count, leaves_of
from fnet.nn.load_report import LoadReport, compare_weights, nested, without_prefixes
from fnet.nn.model import Model, Params, leaf_name
from fnet.nn.skeleton import fresh


class _Names(NamedTuple):
    """The differences between `state_dict` names and leaves: aliases, and names it leaves out."""

    aliases: dict[str, str]
    unsaved: frozenset[str]


# The key is the set of names of a network's leaves, which identifies the network of some parameters
# where `from_state_dict` is not given the model. Several networks may have the same names.
_NETWORKS: dict[frozenset[str], list[_Names]] = {}


def remember(leaves: Leaves, rates: Iterable[str]) -> None:
    """Store the aliases and unsaved names of a network for `from_state_dict`."""
    own = _names_of(leaves, rates)
    names = frozenset((*leaves.trainable, *leaves.frozen, *leaves.buffers)) | own.unsaved
    known = _NETWORKS.setdefault(names, [])
    if own not in known:
        known.append(own)


def _names_of(leaves: Leaves, rates: Iterable[str]) -> _Names:
    return _Names(leaves.aliases, leaves.unsaved | {leaf_name(name, "p") for name in rates})


def _names_for(
    own: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], model: Model | None
) -> _Names:
    """Return the names of the model's network, or without a model, of the one that fits best."""
    if model is not None:
        network = network_of(model)
        return _names_of(network.leaves, network.rates)
    known = _NETWORKS.get(frozenset(own))
    if known is None:
        return _Names({}, frozenset(name for name in own if is_dropout_rate(name)))

    def fits(names: _Names) -> bool:
        given = _of_network(state_dict, own, names)
        there = {names.aliases.get(name, name) for name in given}
        return own.keys() - names.unsaved <= there <= own.keys()

    return next(filter(fits, reversed(known)), known[-1])


def _of_network(
    state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor], names: _Names
) -> dict[str, Tensor]:
    """Return the weights, without the prefixes of wrappers, without batch norm's step counts."""
    weights = without_prefixes(state_dict, [*own, *names.aliases])
    return {
        name: leaf
        for name, leaf in weights.items()
        if name in own or not name.endswith("num_batches_tracked")
    }


def to_module(model: Model, params: Params) -> nn.Module:
    """Return an ordinary `nn.Module`, in evaluation mode, with the predictions of `model.apply`.

    The weights are copies; shared weights stay shared. The `num_batches_tracked` of batch norm,
    which fnet does not store, is 0.

    Raises:
        ModelError: the parameters are those of another model.
    """
    module = fresh(model.make)
    weights = {**params.trainable, **params.stats}
    if weights:
        module.to(next(iter(weights.values())).device)
    for name, layer in module.named_modules():
        rate = leaf_name(name, "p")
        if keyed(layer) is not None and rate in weights:
            layer.p = float(weights.pop(rate))
        for leaf, count in layer.named_buffers(recurse=False):
            if is_step_count(layer, leaf):
                count.zero_()
    leaves = leaves_of(module)
    own = {
        **{name: module.get_parameter(name) for name in (*leaves.trainable, *leaves.frozen)},
        **{name: module.get_buffer(name) for name in leaves.buffers},
    }
    _check(weights, own)
    for name, leaf in own.items():
        # Replaced, not copied in place: the memory format of a weight decides the last bits.
        leaf.data = weights[name].detach().clone()
    return module.eval()


@overload
def from_state_dict(
    like: Params,
    state_dict: Mapping[str, Tensor],
    *,
    strict: Literal[True] = True,
    model: Model | None = None,
) -> Params: ...


@overload
def from_state_dict(
    like: Params,
    state_dict: Mapping[str, Tensor],
    *,
    strict: Literal[False],
    model: Model | None = None,
) -> tuple[Params, LoadReport]: ...


def from_state_dict(
    like: Params,
    state_dict: Mapping[str, Tensor],
    *,
    strict: bool = True,
    model: Model | None = None,
) -> Params | tuple[Params, LoadReport]:
    """Return parameters with the values of a `state_dict` and the strides of `like`.

    Values that a `state_dict` does not contain are taken from `like`: dropout rates, and
    non-persistent buffers. For a leaf that layers share, it may contain all names or only the first
    one. The prefix `module.`, which DataParallel adds to every name, is removed.

    Args:
        like: parameters of the model, as returned by `model.init`.
        state_dict: the values, by name.
        strict: require exactly the names and shapes of the model. If False, matching values are
            loaded, the others keep the values of `like`, and a `LoadReport`, which lists both, is
            returned as a second result.
        model: the model, whose network has the names of the `state_dict`. Without it, they are
            those of the network with the same parameter names that this process made last; or of an
            earlier one, if exactly its names are given.

    Raises:
        ModelError: two names of one shared leaf have different values; or, if strict, a name or a
            shape differs. The message names the first one.

    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> params = model.init(random.key(0))
    >>> again = from_state_dict(params, to_module(model, params).state_dict())
    """
    own = {**like.trainable, **like.stats}
    names = _names_for(own, state_dict, model)
    given = _of_network(state_dict, own, names)
    for name, first in names.aliases.items():
        leaf = given.pop(name, None)
        if leaf is not None and not torch.equal(given.setdefault(first, leaf), leaf):
            raise ModelError(
                f"{first!r} and {name!r} are one shared leaf of this model, but these weights have "
                "different values for them: untie the layers, or make the values equal"
            )
    expected = {k: v for k, v in own.items() if k in given or k not in names.unsaved}
    report = None if strict else compare_weights(given, expected)
    if report is None:
        hint = nested(given) if own.keys().isdisjoint(given) else ""
        if hint:
            raise ModelError(f"these weights are not this model's: {hint}")
        _check(given, expected)
    else:
        given = {name: given[name] for name in report.matched}

    def value(name: str, leaf: Tensor) -> Tensor:
        return torch.empty_like(leaf).copy_(given.get(name, leaf))

    params = Params(
        {name: value(name, leaf) for name, leaf in like.trainable.items()},
        {name: value(name, leaf) for name, leaf in like.stats.items()},
    )
    return params if report is None else (params, report)


def _check(values: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse values whose names or shapes are not the model's own."""
    for names, verb in ((own.keys() - values.keys(), "lack"), (values.keys() - own.keys(), "have")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"these weights are not this model's: they {verb} {sorted(names)[0]!r}{more}"
            )
    for name, leaf in own.items():
        if values[name].shape != leaf.shape:
            raise ModelError(
                f"these weights are not this model's: {name!r} has shape "
                f"{tuple(values[name].shape)}, the model's {tuple(leaf.shape)}"
            )
