"""The leaves of a module: its tensors, their names, and their roles."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from fnet import private
from fnet.nn.model import leaf_name

NORMALISATION = (
    *private.batch_norms(),
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


class Leaves(NamedTuple):
    """The names of a module's tensors. A shared tensor is listed under its first name.

    Attributes:
        trainable: parameters that require a gradient.
        frozen: parameters that do not require a gradient.
        buffers: buffers, without batch norm's `num_batches_tracked`.
        unsaved: non-persistent buffers, which the module's `state_dict` leaves out.
        float32: parameters of normalisation layers, which keep their dtype.
        places: for each leaf, its name in every layer that has it: `functional_call` needs them
            all.
        aliases: for every further name in the `state_dict`, the first name.
    """

    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    buffers: tuple[str, ...]
    unsaved: frozenset[str]
    float32: frozenset[str]
    places: dict[str, tuple[str, ...]]
    aliases: dict[str, str]


def leaves_of(module: nn.Module) -> Leaves:
    """Return the leaves of a module.

    >>> layer = nn.Linear(3, 3)
    >>> leaves_of(nn.Sequential(layer, nn.ReLU(), layer)).aliases
    {'2.weight': '0.weight', '2.bias': '0.bias'}
    """
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in _tensors(module, remove_duplicate=False):
        if first.setdefault(id(tensor), name) != name:
            aliases[name] = first[id(tensor)]
    places: dict[str, tuple[str, ...]] = {}
    for name, tensor in _tensors(module, remove_duplicate=True):
        places[first[id(tensor)]] = (*places.get(first[id(tensor)], ()), name)
    parameters = dict(module.named_parameters())
    unsaved = {
        first[id(leaf)]
        for layer in module.modules()
        for leaf in private.unsaved_buffers(layer).values()
    }
    return Leaves(
        tuple(name for name, leaf in parameters.items() if leaf.requires_grad),
        tuple(name for name, leaf in parameters.items() if not leaf.requires_grad),
        tuple(name for name in places if name not in parameters),
        frozenset(unsaved),
        frozenset(
            first[id(leaf)]
            for layer in module.modules()
            if isinstance(layer, NORMALISATION)
            for leaf in layer.parameters(recurse=False)
        ),
        places,
        aliases,
    )


def _tensors(module: nn.Module, remove_duplicate: bool) -> Iterator[tuple[str, Tensor]]:
    """Iterate over parameters, then buffers: each layer once, or under each of its names."""
    for named in (nn.Module.named_parameters, nn.Module.named_buffers):
        for name, layer in module.named_modules(remove_duplicate=remove_duplicate):
            for leaf, tensor in named(layer, recurse=False, remove_duplicate=False):
                if not is_step_count(layer, leaf):
                    yield leaf_name(name, leaf), tensor


def is_step_count(layer: nn.Module, leaf: str) -> bool:
    """Return whether a buffer is the step count of a batch norm, which fnet does not store."""
    return leaf == "num_batches_tracked" and isinstance(layer, private.batch_norms())
