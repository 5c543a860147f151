"""The way back: parameters into an ordinary `nn.Module`, and out of its `state_dict`."""

from collections.abc import Mapping
from typing import Literal, overload

import torch
from torch import Tensor, nn

from fnet.nn.dropout import is_dropout_rate, keyed
from fnet.nn.load_report import LoadReport, compare_weights, without_prefixes
from fnet.nn.model import Model, Params, leaf_name
from fnet.nn.skeleton import ModelError


def to_module(model: Model, params: Params) -> nn.Module:
    """Return an ordinary `nn.Module`, in evaluation mode, that predicts what `model.apply` does.

    The weights are copies. Batch norm's `num_batches_tracked`, which fnet does not keep, is 0.

    Raises:
        ModelError: the parameters are those of another model.
    """
    with torch.random.fork_rng(devices=[]):
        module = model.make()
    weights = {**params.trainable, **params.stats}
    module.to(next(iter(weights.values())).device)
    for name, layer in module.named_modules():
        rate = leaf_name(name, "p")
        if keyed(layer) is not None and rate in weights:
            layer.p = float(weights.pop(rate))
    own = module.state_dict()
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros_like(tensor)
    # Buffers that a module does not save are constants, which it has made itself.
    constants = dict(module.named_buffers()).keys() - own.keys()
    weights = {name: leaf.clone() for name, leaf in weights.items() if name not in constants}
    _check(weights, own)
    # Assigned, not copied into the module's: the layout of a weight decides the last bits.
    module.load_state_dict(weights, assign=True)
    return module.eval()


@overload
def from_state_dict(
    like: Params, state_dict: Mapping[str, Tensor], *, strict: Literal[True] = True
) -> Params: ...


@overload
def from_state_dict(
    like: Params, state_dict: Mapping[str, Tensor], *, strict: Literal[False]
) -> tuple[Params, LoadReport]: ...


def from_state_dict(
    like: Params, state_dict: Mapping[str, Tensor], *, strict: bool = True
) -> Params | tuple[Params, LoadReport]:
    """Return parameters with the values of a `state_dict`, laid out as those of `like`.

    Dropout rates, which a `state_dict` does not hold, are those of `like`. The prefix `module.`,
    which DataParallel puts before every name, is left out.

    Args:
        like: parameters of the model, such as `model.init` makes.
        state_dict: the values, by name.
        strict: whether every name and shape must be the model's, and all of them be there. If
            not, what fits is loaded, the rest keeps the values of `like`, and a `LoadReport`,
            whose text says what is what, is returned beside the parameters.

    Raises:
        ModelError: if strict, a name or a shape differs; the message names the first.

    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> params = model.init(random.key(0))
    >>> again = from_state_dict(params, to_module(model, params).state_dict())
    """
    own = {**like.trainable, **like.stats}
    given = without_prefixes(state_dict, own)
    given = {k: v for k, v in given.items() if not k.endswith("num_batches_tracked")}
    expected = {k: v for k, v in own.items() if k in given or not is_dropout_rate(k)}
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
