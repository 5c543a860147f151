"""One forward pass of a skeleton, with the tensors passed as arguments."""

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from fnet.nn.errors import ModelError
from fnet.nn.leaves import Leaves
from fnet.nn.model import Params, leaf_name

_PREFIX = "module."


class Collecting(nn.Module):
    """A module that returns its output and its buffers, as they are after the forward pass.

    So it returns the new values both of buffers written in place and of buffers assigned.
    """

    def __init__(self, module: nn.Module, buffers: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = buffers

    def forward(self, images: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Return the output, and the buffers by name."""
        output = self.module(images)
        return output, {name: self.module.get_buffer(name) for name in self.names}


def run(
    module: Collecting,
    leaves: Leaves,
    rates: list[str],
    params: Params,
    images: Tensor,
    keys: dict[str, Tensor] | None,
) -> tuple[Any, dict[str, Tensor]]:
    """Return the output and the statistics of a module.

    `rates` are the names of the keyed dropout layers, and `keys` their keys. `keys` is None in
    evaluation mode, in which the buffers are not cloned, because the module does not change them.
    """
    _require_names(leaves, rates, params)
    leaves_by_name = {**params.trainable, **params.stats}
    values: dict[str, Tensor] = dict(keys or {})
    for name in (*leaves.trainable, *leaves.frozen):
        leaf = leaves_by_name[name]
        if name not in leaves.float32 and leaf.is_floating_point():
            leaf = leaf.to(images.dtype)
        values[name] = leaf
    for name in leaves.buffers:
        # Cloned, because the forward pass may write to it in place.
        values[name] = params.stats[name] if keys is None else params.stats[name].clone()
    given = {
        _PREFIX + place: leaf
        for name, leaf in values.items()
        for place in leaves.places.get(name, (name,))
    }
    for name in rates:
        given[_PREFIX + leaf_name(name, "rate")] = params.stats[leaf_name(name, "p")]
    output, buffers = functional_call(module, given, (images,), tie_weights=False)
    if keys is None:
        return output, params.stats
    stats = dict(params.stats)
    for name, value in buffers.items():
        old = stats[name]
        # Detach also the running averages that a layer did not detach.
        stats[name] = value if value is values[name] else value.detach().to(old.dtype)
    return output, stats


def _require_names(leaves: Leaves, rates: list[str], params: Params) -> None:
    stats = (*leaves.frozen, *leaves.buffers, *[leaf_name(name, "p") for name in rates])
    for kind, names in (("trainable", leaves.trainable), ("stats", stats)):
        own = getattr(params, kind)
        for name in names:
            if name not in own:
                raise ModelError(f"these parameters are not this model's: {kind} lacks {name!r}")
        if len(own) != len(names):
            other = next(name for name in own if name not in names)
            raise ModelError(f"these parameters are not this model's: {kind} has {other!r}")
