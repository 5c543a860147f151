"""Networks by name, for images of any classes: torchvision's, and fnet's own."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from fnet import models
from fnet.nn import Model, from_module
from fnet.run.splits import Splits

_OWN: dict[str, Callable[..., Model]] = {
    "net": models.net,
    "lenet5": models.lenet5,
    "cnn": models.cnn,
    "cnnpro": models.cnnpro,
    "dainet": models.dainet,
    "dainet1": models.dainet1,
    "mynet": models.mynet,
    "mycnn": models.mycnn,
}
"""fnet's networks that depend on the size of the images."""

_OWN_OF_ANY_SIZE: dict[str, Callable[[int, int], Model]] = {
    "dainet7": models.dainet7,
    "cifar_resnet18": models.resnet18,
    "cifar_resnet50": models.resnet50,
}

_AUXILIARY = ("googlenet", "inception_v3")
"""Networks that have further outputs in training, unless they are told not to."""


def of_torchvision(name: str) -> bool:
    """Return whether a name is not one of fnet's own networks."""
    return name not in _OWN and name not in _OWN_OF_ANY_SIZE


def network(name: str, splits: Splits) -> Model:
    """Return the network of this name for the images and classes of a data set.

    Raises:
        ValueError: there is no network of this name.
    """
    classes, (channels, height, _) = len(splits.train.classes), splits.input_shape
    if name in _OWN:
        return _OWN[name](**splits.sizes)
    if name in _OWN_OF_ANY_SIZE:
        return _OWN_OF_ANY_SIZE[name](classes, channels)
    # Imported here, because importing torchvision takes seconds.
    from torchvision import models as zoo

    known = zoo.list_models(module=zoo)
    if name not in known:
        near = get_close_matches(name, [*known, *_OWN, *_OWN_OF_ANY_SIZE], 3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"there is no network {name!r}: {hint}--network is one of "
            f"{', '.join([*_OWN, *_OWN_OF_ANY_SIZE])}, or a network of torchvision.models"
        )
    options: dict[str, Any] = {"num_classes": classes}
    if name in _AUXILIARY:
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = height

    def make() -> nn.Module:
        return _with_channels(zoo.get_model(name, weights=None, **options), channels)

    return from_module(make, memory_format=torch.channels_last)


def _with_channels(module: nn.Module, channels: int) -> nn.Module:
    """Return the module with a first convolution for images of so many channels."""
    if channels == 3:
        return module
    name, first = next(
        (name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)
    )
    parent, _, leaf = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(module.get_submodule(parent), leaf, new)
    return module
