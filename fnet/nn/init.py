"""Initial parameters as a pure function of a key.

Without an initialiser, the module initialises itself, with the generator seeded from the key. An
`Initializer` draws the weights of linear and convolution layers instead.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from fnet import random, tree
from fnet.nn.dropout import KeyedDropout, keyed
from fnet.nn.leaves import Leaves, leaves_of
from fnet.nn.model import Params, leaf_name
from fnet.nn.skeleton import fresh

Initializer: TypeAlias = Callable[[Tensor, tuple[int, ...]], Tensor]
"""`initializer(key, shape) -> float32 weight`; shape is `[out, in, *kernel]`, as in PyTorch."""


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Return the initializer of `torch.nn.init.xavier_uniform_` (Glorot and Bengio, 2010)."""
    return _uniform(lambda fan_in, fan_out: gain * math.sqrt(2.0 / (fan_in + fan_out)))


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Return the initializer of `torch.nn.init.xavier_normal_` (Glorot and Bengio, 2010)."""
    return _normal(lambda fan_in, fan_out: gain * math.sqrt(2.0 / (fan_in + fan_out)))


def kaiming_uniform(gain: float = math.sqrt(2.0)) -> Initializer:
    """Return the initializer of `torch.nn.init.kaiming_uniform_`, fan-in (He et al., 2015).

    The default gain is that of ReLU.
    """
    return _uniform(lambda fan_in, _: gain / math.sqrt(fan_in))


def kaiming_normal(gain: float = math.sqrt(2.0)) -> Initializer:
    """Return the initializer of `torch.nn.init.kaiming_normal_`, fan-in (He et al., 2015).

    The default gain is that of ReLU.
    """
    return _normal(lambda fan_in, _: gain / math.sqrt(fan_in))


def initial_params(
    make: Callable[[], nn.Module],
    key: Tensor,
    init: Initializer | None = None,
    require_new: Callable[[nn.Module], None] = lambda module: None,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Params:
    """Return the parameters of a fresh `make()`, on the key's device.

    They have the module's own strides. If `memory_format` is channels-last, trainable weights with
    four dimensions (five for `channels_last_3d`) are in that format. The global random state is
    restored. Under `vmap`, the parameters are made for one key after the other.

    Raises:
        ModelError: `make` returns layers that it has returned before (`require_new` raises it).
    """
    names: list[tuple[str, str]] = []

    def build(key: Tensor) -> list[Tensor]:
        module = fresh(make, int(random.bits(key, ())))
        require_new(module)
        params = params_of(module, leaves_of(module))
        if init is not None:
            params.trainable.update(_redrawn(module, params, key, init))
        names[:] = [(kind, name) for kind in Params._fields for name in getattr(params, kind)]
        trainable = [
            _laid_out(leaf.to(key.device), memory_format) for leaf in params.trainable.values()
        ]
        return trainable + [leaf.to(key.device, copy=True) for leaf in params.stats.values()]

    params = Params({}, {})
    leaves = _Built.apply(key, build)
    for (kind, name), leaf in zip(names, leaves, strict=True):
        getattr(params, kind)[name] = leaf
    return params


def params_of(module: nn.Module, leaves: Leaves) -> Params:
    """Return the parameters of a module, without copying; shared ones appear once."""
    rates = {
        leaf_name(name, "p"): stand_in.rate
        for name, layer in module.named_modules()
        if isinstance(stand_in := keyed(layer) or layer, KeyedDropout)
    }
    return Params(
        {name: module.get_parameter(name).detach() for name in leaves.trainable},
        {
            **{name: module.get_parameter(name).detach() for name in leaves.frozen},
            **{name: module.get_buffer(name).detach() for name in leaves.buffers},
            **rates,
        },
    )


class _Built(torch.autograd.Function):
    """`build(key)`, with a `vmap` rule that calls it for each key."""

    @staticmethod
    def forward(key: Tensor, build: Callable[[Tensor], list[Tensor]]) -> tuple[Tensor, ...]:
        return tuple(build(key))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, keys: Tensor, build: Callable[[Tensor], list[Tensor]]
    ) -> tuple[tuple[Tensor, ...], int]:
        each = [_Built.apply(key, build) for key in keys.movedim(in_dims[0], 0).unbind()]
        return tuple(_stacked(leaves) for leaves in zip(*each, strict=True)), 0


def _stacked(leaves: Sequence[Tensor]) -> Tensor:
    """Return the stacked leaves; each slice keeps the strides of its leaf."""
    size, strides = leaves[0].shape, leaves[0].stride()
    stacked = torch.empty_strided(
        (len(leaves), *size),
        (leaves[0].numel(), *strides),
        dtype=leaves[0].dtype,
        device=leaves[0].device,
    )
    for place, leaf in enumerate(leaves):
        stacked[place] = leaf
    return stacked


_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def _redrawn(
    module: nn.Module, params: Params, key: Tensor, init: Initializer
) -> dict[str, Tensor]:
    """Return new values of weights and biases; frozen and computed weights are not redrawn."""
    drawn: dict[str, Tensor] = {}
    layers = (nn.Linear, *_CONVOLUTIONS)
    owners = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, layers)]
    for position, (name, _) in enumerate(owners):
        weight, bias = leaf_name(name, "weight"), leaf_name(name, "bias")
        if weight in params.trainable:
            shape = tuple(params.trainable[weight].shape)
            value = init(random.fold_in(key, position), shape)
            drawn[weight] = tree.laid_out_like(value, params.trainable[weight])
        if bias in params.trainable:
            drawn[bias] = torch.zeros_like(params.trainable[bias])
    return drawn


_DIMENSIONS = {torch.channels_last: 4, torch.channels_last_3d: 5}


def _laid_out(leaf: Tensor, memory_format: torch.memory_format) -> Tensor:
    fits = leaf.dim() == _DIMENSIONS.get(memory_format, leaf.dim())
    return leaf.clone(memory_format=memory_format if fits else torch.preserve_format)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _uniform(std: Callable[[int, int], float]) -> Initializer:
    def init(key: Tensor, shape: tuple[int, ...]) -> Tensor:
        bound = math.sqrt(3.0) * std(*_fans(shape))
        return random.uniform(key, shape, -bound, bound)

    return init


def _normal(std: Callable[[int, int], float]) -> Initializer:
    def init(key: Tensor, shape: tuple[int, ...]) -> Tensor:
        return std(*_fans(shape)) * random.normal(key, shape)

    return init
