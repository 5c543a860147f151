"""Initial parameters as a pure function of a key.

Without an initialiser the module's own runs, its generator seeded from the key. An `Initializer`
draws the weights of linear and convolution layers instead.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fnet import random
from fnet.nn.dropout import KeyedDropout, keyed
from fnet.nn.model import Params, leaf_name
from fnet.nn.skeleton import ModelError

Initializer: TypeAlias = Callable[[Tensor, tuple[int, ...]], Tensor]
"""`initializer(key, shape) -> float32 weight`; shape is `[out, in, *kernel]`, as torch has it."""


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
    make: Callable[[], nn.Module], key: Tensor, init: Initializer | None = None
) -> Params:
    """Return the parameters of a fresh `make()`, on the key's device.

    Weights of four dimensions are laid out channels-last. The global random state is what it was
    before.

    Raises:
        ModelError: `make` returns layers that it has returned before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(random.bits(key, ())))
        module = make()
    for name, leaf in module.state_dict().items():
        if leaf.is_meta:
            raise ModelError(
                f"{name!r} belongs to a layer that is on the meta device already: build the layers "
                "inside the function given to from_module, so that each call makes new ones"
            )
    trainable = {name: leaf.detach() for name, leaf in module.named_parameters()}
    stats = {
        name: leaf.detach()
        for name, leaf in module.named_buffers()
        if not name.endswith("num_batches_tracked")
    }
    for name, layer in module.named_modules():
        dropout = keyed(layer)
        if isinstance(dropout, KeyedDropout):
            stats[leaf_name(name, "p")] = dropout.p
    if init is not None:
        trainable |= _redrawn(module, key, init)
    return Params(
        {name: _laid_out(leaf.to(key.device)) for name, leaf in trainable.items()},
        {name: leaf.to(key.device, copy=True) for name, leaf in stats.items()},
    )


def _redrawn(module: nn.Module, key: Tensor, init: Initializer) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = {}
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    owners = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, layers)]
    for position, (name, layer) in enumerate(owners):
        shape = tuple(layer.weight.shape)
        drawn[leaf_name(name, "weight")] = init(random.fold_in(key, position), shape)
        if layer.bias is not None:
            drawn[leaf_name(name, "bias")] = torch.zeros_like(layer.bias, requires_grad=False)
    return drawn


def _laid_out(leaf: Tensor) -> Tensor:
    if leaf.dim() == 4:
        return leaf.clone(memory_format=torch.channels_last)
    return leaf.clone()


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
