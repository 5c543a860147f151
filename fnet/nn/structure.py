"""Checks of a module's structure: it can only become pure if all tensors and layers are registered.

Each error names the layer, and says what to write instead.
"""

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fnet import private
from fnet.nn.errors import ModelError

# Lists of an RNN's own parameters, which it rebuilds if the parameters have changed.
OF_RNNS = frozenset({"_flat_weights", "_flat_weight_refs"})
_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def require_plain(module: nn.Module) -> None:
    """Check that a module registers its tensors and layers, so that PyTorch finds them.

    Raises:
        ModelError: there is a lazy layer, a compiled one, a layer whose statistics cannot be pure,
            a hook that computes a weight, a backward hook, a parameter with another dtype than
            float32, `__slots__`, an attribute that holds an unregistered tensor or layer, or two
            tensors in the same memory.
    """
    _require_own_memory(module)
    registered = set(module.modules())
    for name, layer in module.named_modules():
        here = called(name, layer)
        _require_not_compiled(here, layer)
        _require_known_shape(here, layer)
        _require_pure_normalisation(here, layer)
        _require_no_weight_hook(here, layer)
        _require_float32(here, layer)
        _require_no_slots(here, layer)
        _require_no_backward_hook(here, layer)
        for attribute, value in attributes(layer):
            for found in _unregistered(value, registered):
                raise ModelError(f"{here}: {_advice(attribute, found)}")


def _require_own_memory(module: nn.Module) -> None:
    first: dict[tuple[int, int], tuple[str, Tensor]] = {}
    for name, leaf in (*module.named_parameters(), *module.named_buffers()):
        if leaf.is_meta or is_lazy(leaf) or not leaf.numel():
            continue
        place = leaf.untyped_storage().data_ptr(), int(leaf.storage_offset())
        other, twin = first.setdefault(place, (name, leaf))
        if twin is not leaf and (twin.requires_grad or leaf.requires_grad):
            raise ModelError(
                f"{other!r} and {name!r} are two tensors in the same memory, which would part at "
                "the first step: to share a weight, assign the Parameter itself (b.weight = "
                "a.weight), or give each its own (.clone())"
            )


def called(name: str, layer: nn.Module) -> str:
    """Return how error messages name a layer: "layer 'conv1' (Conv2d)"."""
    return (
        f"layer {name!r} ({type(layer).__name__})" if name else f"layer of {type(layer).__name__}"
    )


def attributes(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    """Iterate over the attributes and hooks of a layer, except PyTorch's own registries."""
    for name, value in vars(layer).items():
        if name in _HOOKS:
            for hook in value.values():
                yield f"hook {getattr(hook, '__name__', type(hook).__name__)!r}", hook
        elif name not in _OF_MODULES and not (isinstance(layer, nn.RNNBase) and name in OF_RNNS):
            yield f"attribute {name!r}", value


def _require_not_compiled(here: str, layer: nn.Module) -> None:
    # The latter is the attribute of a module that torch.compile returned.
    if isinstance(layer, torch.jit.ScriptModule) or "_orig_mod" in dict(layer.named_children()):
        raise ModelError(
            f"{here} is compiled already (torch.jit, torch.compile): give from_module the plain "
            "module, and compile the step (fnet.compiler.compile)"
        )


def _require_known_shape(here: str, layer: nn.Module) -> None:
    if any(
        is_lazy(leaf) for leaf in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    ):
        raise ModelError(
            f"{here} takes its shape from the first images it sees, which is a side effect: use "
            f"{type(layer).__name__.removeprefix('Lazy')} with its number of inputs"
        )


def _require_pure_normalisation(here: str, layer: nn.Module) -> None:
    if isinstance(layer, nn.SyncBatchNorm):
        raise ModelError(
            f"{here} communicates with other processes in its forward pass: use nn.BatchNorm2d "
            "(undo convert_sync_batchnorm)"
        )
    if isinstance(layer, private.batch_norms()) and layer.momentum is None:
        raise ModelError(
            f"{here}: momentum=None (a cumulative average) depends on a step count that a pure "
            "model does not keep; give it a number such as 0.1"
        )


def _require_no_weight_hook(here: str, layer: nn.Module) -> None:
    instead = {
        "torch.nn.utils.weight_norm": "torch.nn.utils.parametrizations.weight_norm",
        "torch.nn.utils.spectral_norm": "torch.nn.utils.parametrizations.spectral_norm",
        "torch.nn.utils.prune": "a parametrization like those in torch.nn.utils.parametrizations "
        "(register_parametrization) to keep the mask, or prune.remove to make it permanent",
    }
    for hook in private.forward_pre_hooks(layer):
        if type(hook).__module__ in instead:
            raise ModelError(
                f"{here}: {type(hook).__name__} computes a weight into an attribute before each "
                f"call, which is a side effect: use {instead[type(hook).__module__]}"
            )


def _require_float32(here: str, layer: nn.Module) -> None:
    for name, leaf in layer.named_parameters(recurse=False):
        if leaf.is_floating_point() and leaf.dtype != torch.float32:
            raise ModelError(
                f"{here}: {name!r} is {str(leaf.dtype).removeprefix('torch.')}, but weights are "
                "kept in float32; leave out .half(), .bfloat16() or .double(): the dtype of the "
                "images decides the precision (make_grad(..., dtype=torch.bfloat16))"
            )


def _require_no_backward_hook(here: str, layer: nn.Module) -> None:
    owners: list[tuple[str, nn.Module | Tensor]] = [("", layer)]
    owners += layer.named_parameters(recurse=False)
    for name, owner in owners:
        if private.backward_hooks(owner):
            raise ModelError(
                f"{here}: {f'its parameter {name!r}' if name else 'it'} has a backward hook, which "
                "torch.func does not call: change the gradients in the optimizer (optim.chain), or "
                "compute them by a torch.autograd.Function with setup_context"
            )


def _require_no_slots(here: str, layer: nn.Module) -> None:
    for cls in type(layer).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            raise ModelError(
                f"{here}: its class {cls.__name__} keeps {name!r} in __slots__, which PyTorch does "
                "not copy with a module: leave __slots__ out"
            )


def _unregistered(value: Any, registered: set[nn.Module]) -> Iterator[Any]:
    """Iterate over the tensors and the unregistered layers within a value."""
    # A copy of the network has the same functions, which would use the original's layers: layers
    # that a function reaches count as unregistered.
    stack: list[tuple[Any, set[nn.Module]]] = [(value, registered)]
    seen = set[int]()
    while stack:
        item, registered = stack.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor) or (isinstance(item, nn.Module) and item not in registered):
            yield item
        elif isinstance(item, types.FunctionType):
            stack += [(part, set()) for part in parts(item)]
        elif not isinstance(item, nn.Module):
            stack += [(part, registered) for part in parts(item)]


def parts(value: Any) -> list[Any]:
    """Return what a container or an object holds, or what a function closes over."""
    if isinstance(value, dict):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return [*value]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        return [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    return [*getattr(value, "__dict__", {}).values(), *_slots(value)]


def _slots(value: Any) -> Iterator[Any]:
    for cls in type(value).__mro__:
        for name, member in vars(cls).items() if "__slots__" in vars(cls) else ():
            if isinstance(member, types.MemberDescriptorType) and hasattr(value, name):
                yield getattr(value, name)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _advice(attribute: str, found: Any) -> str:
    if isinstance(found, nn.Parameter):
        return (
            f"{attribute} holds a parameter that is not registered, so it would never be trained: "
            "register it (self.name = nn.Parameter(...)), or use nn.ParameterList or ParameterDict"
        )
    if isinstance(found, Tensor):
        return (
            f"{attribute} holds a tensor that is not registered, so it would be a constant, shared "
            "by all networks: register it (register_buffer, or nn.Parameter to train it), or use "
            "nn.ParameterList"
        )
    return (
        f"{attribute} holds a layer ({type(found).__name__}) that is not registered, so its "
        "weights would be constants, shared by all networks: register it (assign it to an "
        "attribute, or use nn.ModuleList), and access it through `self`"
    )
