"""From any `nn.Module` to a pure `Model`.

The module becomes two skeletons on the meta device, one in training and one in evaluation mode;
`torch.func.functional_call` runs them on tensors that the caller hands in.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fnet import random
from fnet.nn.check import check
from fnet.nn.init import Initializer, initial_params
from fnet.nn.model import Model, Params, leaf_name
from fnet.nn.skeleton import dropout_layers, skeleton

_NORMALISATION = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


def from_module(
    make: Callable[[], nn.Module],
    *,
    init: Initializer | None = None,
    input_shape: tuple[int, int, int] | None = None,
) -> Model:
    """Return the `Model` of the network that `make()` builds, unchanged (torchvision's as well).

    Dropout layers and `StochasticDepth` draw their masks from the key given to `apply`; batch
    norm's update never reaches the caller's tensors. Without `init` the module's own initialiser
    runs, seeded from the key; an `init` such as `xavier_uniform()` draws the weights of linear and
    convolution layers instead, a key for each leaf, and zeroes their biases. With `input_shape`
    (C, H, W) the layers are checked against each other at once (`fnet.nn.check`).

    Raises:
        ModelError: a layer cannot be made pure, or the layers do not fit `input_shape`.

    >>> model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    >>> params = model.init(random.key(0))
    >>> sorted(params.trainable)
    ['1.bias', '1.weight']
    >>> logits, stats = model.apply(params, torch.zeros(5, 3, 2, 2))
    >>> logits.shape
    torch.Size([5, 2])
    """
    training = skeleton(make).train()
    evaluating = copy.deepcopy(training).eval()
    layers = dropout_layers(training)
    uncast = {
        leaf_name(name, leaf)
        for name, module in training.named_modules()
        if isinstance(module, _NORMALISATION)
        for leaf, _ in module.named_parameters(recurse=False)
    }

    def apply(
        params: Params, images: Tensor, *, key: Tensor | None = None, train: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        weights = {
            name: leaf if name in uncast else leaf.to(images.dtype)
            for name, leaf in params.trainable.items()
        }
        if not train:
            return functional_call(evaluating, {**weights, **params.stats}, (images,)), params.stats
        # Batch norm writes into its statistics: into copies, which are handed back.
        stats = {name: leaf.clone() for name, leaf in params.stats.items()}
        keys = _layer_keys(key, layers)
        return functional_call(training, {**weights, **stats, **keys}, (images,)), stats

    model = Model(lambda key: initial_params(make, key, init), apply, make)
    if input_shape is not None:
        check(model, input_shape)
    return model


def _layer_keys(key: Tensor | None, layers: list[str]) -> dict[str, Tensor]:
    """Return a key for each layer, folded from the key (or keys) and the layer's position."""
    if not layers:
        return {}
    if key is None:
        raise ValueError(
            f"training mode needs randomness for the dropout layers {', '.join(layers)}: "
            "pass apply(..., key=...)"
        )
    positions = torch.arange(len(layers), device=key.device)
    keys = random.fold_in(key.unsqueeze(-2), positions)
    return {leaf_name(name, "key"): keys[..., place, :] for place, name in enumerate(layers)}
