"""A module without tensors: on the meta device, its dropout keyed and its batch norms pure."""

from collections.abc import Callable

import torch
from torch import nn

from fnet.nn.conv import own_conv
from fnet.nn.dropout import KeyedDropout, keyed
from fnet.nn.linear import own_linear
from fnet.nn.norm import own_norm
from fnet.nn.pool import own_pool


class ModelError(Exception):
    """A network that cannot be trained as it is: which layer, what it got, what it expected."""


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """Return `make()` on the meta device, with keyed layers in place of those that draw masks.

    Batch norms, max poolings, convolutions and linear layers get twins of the same numbers, to
    rounding, that are quicker in a compiled step.

    `functional_call` gives it tensors again. The global random state is what it was before.

    Raises:
        ModelError: a batch norm whose momentum is None.
    """
    with torch.random.fork_rng(devices=[]):
        # Layers that get twins too: `initial_params` finds those that `make` does not make anew.
        module = make().to("meta")
    twins: dict[nn.Module, nn.Module] = {}  # a layer may stand in several places
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        layer = twins.setdefault(layer, _twin(layer))
        if name:
            module.set_submodule(name, layer)
        else:
            module = layer
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            if layer.momentum is None:
                raise ModelError(
                    f"layer {name!r}: momentum=None (a cumulative average) depends on a step count "
                    "that a pure model does not keep; give it a number such as 0.1"
                )
            # With a counter, batch norm would add to it in place at every step.
            layer.num_batches_tracked = None
    return module.to("meta")


def _twin(layer: nn.Module) -> nn.Module:
    """Return what takes the place of a layer: itself where it needs no other."""
    mask = keyed(layer)
    # A hook may be what makes the weight of the layer, as in weight_norm.
    hooked = layer._forward_pre_hooks or layer._forward_hooks or "forward" in vars(layer)
    if mask is not None or hooked:
        return mask or layer
    twin = own_norm(layer) or own_pool(layer) or own_conv(layer) or own_linear(layer) or layer
    # What else the network that has the layer has set on it.
    vars(twin).update({name: it for name, it in vars(layer).items() if name not in vars(twin)})
    return twin


def dropout_layers(module: nn.Module) -> list[str]:
    """Return the dotted names of a skeleton's keyed layers, in order."""
    return [name for name, layer in module.named_modules() if isinstance(layer, KeyedDropout)]
