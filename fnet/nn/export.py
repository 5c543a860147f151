"""The way back: parameters into an ordinary `nn.Module`, and out of its `state_dict`."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from fnet.nn.check import network_of
from fnet.nn.dropout import is_dropout_rate, keyed
from fnet.nn.errors import ModelError
from fnet.nn.leaves import Leaves, is_step_count, leaves_of
from fnet.nn.load_report import LoadReport, compare_weights, without_prefixes
from fnet.nn.model import Model, Params, leaf_name
from fnet.nn.skeleton import fresh


class _Names(NamedTuple):
    """What a `state_dict` calls the leaves of a network: further names, and those it leaves out."""

    aliases: dict[str, str]
    unsaved: frozenset[str]


# By the names of a network's leaves, which say whose parameters these are: parameters are plain
# trees, and `from_state_dict` may have to do without the model. Two networks may have one entry.
_NETWORKS: dict[frozenset[str], list[_Names]] = {}


def remember(leaves: Leaves, rates: Iterable[str]) -> None:
    """Keep for `from_state_dict` what the `state_dict` of a network is like."""
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
    """Return the names of the model's network; without one, of the known one that fits best."""
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
    """Return the weights without prefixes of wrappers and the step counts of batch norms."""
    weights = without_prefixes(state_dict, [*own, *names.aliases])
    return {
        name: leaf
        for name, leaf in weights.items()
        if name in own or not name.endswith("num_batches_tracked")
    }


def to_module(model: Model, params: Params) -> nn.Module:
    """Return an ordinary `nn.Module`, in evaluation mode, that predicts what `model.apply` does.

    The weights are copies; layers that share one share it here too. Batch norm's
    `num_batches_tracked`, which fnet does not keep, is 0.

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
        # Replaced, not copied into the module's: the layout of a weight decides the last bits.
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
    """Return parameters with the values of a `state_dict`, laid out as those of `like`.

    What a `state_dict` does not hold is that of `like`: dropout rates, and buffers that are not
    persistent. Of a leaf that layers share it may have every name, or the first one. The prefix
    `module.`, which DataParallel puts before every name, is left out.

    Args:
        like: parameters of the model, such as `model.init` makes.
        state_dict: the values, by name.
        strict: whether every name and shape must be the model's, and all of them be there. If
            not, what fits is loaded, the rest keeps the values of `like`, and a `LoadReport`,
            whose text says what is what, is returned beside the parameters.
        model: the model, which knows the names in its `state_dict`. Without it they are those of
            the network made last in this process with parameters of these names, or of an earlier
            one whose `state_dict` has exactly the names given.

    Raises:
        ModelError: two names of one leaf have different values; or, if strict, a name or a shape
            differs. The message names the first.

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
                f"{first!r} and {name!r} are one leaf of this model, but these weights have "
                "different values for them: untie the layers, or make the values equal"
            )
    expected = {k: v for k, v in own.items() if k in given or k not in names.unsaved}
    report = None if strict else compare_weights(given, expected)
    if report is None:
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
