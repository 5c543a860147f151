"""Skeletons: modules on the meta device, with keyed dropout layers and pure batch norms."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from fnet import private
from fnet.nn.dropout import KeyedDropout, keyed
from fnet.nn.errors import ModelError
from fnet.nn.generators import isolated
from fnet.nn.structure import require_plain


def skeleton(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the meta device, with keyed replacements of dropout layers.

    Tensors that layers share stay shared. `functional_call` runs the skeleton with real tensors.
    The module itself is not changed.

    Raises:
        ModelError: a layer cannot be made pure (`require_plain`).
    """
    require_plain(module)
    tensors = [*module.parameters(), *module.buffers()]
    memo = {id(tensor): _without_data(tensor) for tensor in tensors}
    return with_stand_ins(copy.deepcopy(module, memo), "meta")


def with_stand_ins(module: nn.Module, device: str = "cpu") -> nn.Module:
    """Replace the dropout layers of a module by keyed ones, in place, and return the module."""
    stand_ins: dict[nn.Module, nn.Module] = {}  # a layer may be registered several times
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        stand_in = stand_ins.get(layer)
        if stand_in is None:
            own = keyed(layer)
            stand_in = stand_ins[layer] = layer if own is None else own.to(device)
        layer = stand_in
        if name:
            module.set_submodule(name, layer)
        else:
            module = layer
        if isinstance(layer, private.batch_norms()):
            # Otherwise batch norm would increment this counter in place at every step.
            layer.num_batches_tracked = None  # type: ignore[assignment]
    return module


def dropout_layers(module: nn.Module) -> list[str]:
    """Return the dotted names of a skeleton's keyed layers, in order."""
    return [name for name, layer in module.named_modules() if isinstance(layer, KeyedDropout)]


def fresh(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return `make()`, called with seeded global generators, whose states are then restored.

    Raises:
        ModelError: `make()` does not return an `nn.Module`.
    """
    with isolated(seed):
        module = make()
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"from_module takes a function that builds an nn.Module; it returned a "
            f"{type(module).__name__}"
        )
    return module


def _without_data(tensor: torch.Tensor) -> torch.Tensor:
    empty = tensor.detach().to("meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
