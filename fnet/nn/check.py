"""A check of a network before training: do its layers fit together, and is it pure?"""

import torch
from torch import Tensor

from fnet.nn.errors import ModelError
from fnet.nn.model import Model
from fnet.nn.network import Network


def check(model: Model, input_shape: tuple[int, ...], *, batch_size: int = 2) -> int:
    """Run the model without data on images of `input_shape` (C, H, W), in both modes.

    In training mode on `batch_size` images, in evaluation mode on two.

    Returns the number of classes.

    Raises:
        ModelError: layers do not fit together, or a layer cannot be pure. The message has the
            layer's dotted name, the shape it got and the shape it expected.
    """
    return check_network(network_of(model), input_shape, batch_size=batch_size)


def network_of(model: Model) -> Network:
    """Return the network that `from_module` made, or a new one of a model made otherwise."""
    return getattr(model.apply, "network", None) or Network(model.make)


def check_network(network: Network, input_shape: tuple[int, ...], *, batch_size: int = 2) -> int:
    """Run `check` on a network."""
    logits = None
    for train, size in ((True, batch_size), (False, 2)):
        logits = network.facts((size, *input_shape), torch.float32, train=train).output
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"a classifier returns logits [N, classes]; for images {[size, *input_shape]} this "
                f"one returned {shape}"
            )
    assert logits is not None
    return logits.shape[1]
