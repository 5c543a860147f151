"""A module without tensors: on the meta device, its dropout keyed and its batch norms pure."""

from collections.abc import Callable

import torch
from torch import nn

from fnet.nn.dropout import KeyedDropout, keyed


class ModelError(Exception):
    """A network that cannot be trained as it is: which layer, what it got, what it expected."""


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """Return `make()` on the meta device, with keyed layers in place of those that draw masks.

    `functional_call` gives it tensors again. The global random state is what it was before.

    Raises:
        ModelError: a batch norm whose momentum is None.
    """
    with torch.random.fork_rng(devices=[]):
        # Keyed layers too: `initial_params` finds those that `make` does not make anew.
        module = make().to("meta")
    twins: dict[nn.Module, nn.Module] = {}  # a layer may stand in several places
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        layer = twins.setdefault(layer, keyed(layer) or layer)
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


def dropout_layers(module: nn.Module) -> list[str]:
    """Return the dotted names of a skeleton's keyed layers, in order."""
    return [name for name, layer in module.named_modules() if isinstance(layer, KeyedDropout)]
