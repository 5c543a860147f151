"""The way back: parameters into an ordinary `nn.Module`, and out of its `state_dict`."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fnet.nn.dropout import is_dropout_rate, keyed
from fnet.nn.model import Model, Params
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
        if keyed(layer) is not None and f"{name}.p" in weights:
            layer.p = float(weights.pop(f"{name}.p"))  # type: ignore[assignment]
    own = module.state_dict()
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros_like(tensor)
    # Buffers that a module does not save are constants, which it has made itself.
    constants = dict(module.named_buffers()).keys() - own.keys()
    _load({name: leaf for name, leaf in weights.items() if name not in constants}, own)
    return module.eval()


def from_state_dict(like: Params, state_dict: Mapping[str, Tensor]) -> Params:
    """Return parameters with the values of a `state_dict`, laid out as those of `like`.

    Dropout rates, which a `state_dict` does not hold, are those of `like`, as are constants.

    Raises:
        ModelError: a name or a shape differs; the message names the first.

    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> params = model.init(random.key(0))
    >>> again = from_state_dict(params, to_module(model, params).state_dict())
    """
    own = {
        name: leaf.clone()
        for name, leaf in {**like.trainable, **like.stats}.items()
        if name in state_dict or not is_dropout_rate(name)
    }
    given = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    _load(given, own)
    return Params(
        {name: own[name] for name in like.trainable},
        {name: own.get(name, leaf) for name, leaf in like.stats.items()},
    )


def _load(values: Mapping[str, Tensor], into: dict[str, Tensor]) -> None:
    """Copy the values into the tensors of the same names."""
    for names, word in ((into.keys() - values.keys(), "lack"), (values.keys() - into.keys(), "have")):
        if names:
            raise ModelError(
                f"these weights are not this model's: they {word} {sorted(names)[0]!r}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                + (", which the model does not have" if word == "have" else "")
            )
    for name, target in into.items():
        value = values[name]
        if value.shape != target.shape:
            raise ModelError(
                f"these weights are not this model's: {name!r} has shape {tuple(value.shape)}, "
                f"the model's {tuple(target.shape)}"
            )
        with torch.no_grad():
            target.copy_(value)
