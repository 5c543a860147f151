"""A first convolution that whitens: its filters decorrelate the patches of the training images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fnet.nn.check import network_of
from fnet.nn.model import Model, Params, leaf_name

EPS = 5e-4
"""Added to each variance, so that directions of noise are not amplified to a variance of 1."""
MIN_IMAGES, PATCHES = 100, 200_000
"""The filters are computed from about so many patches, of so many images at least."""


def whitening_filters(images: Tensor, size: tuple[int, int], eps: float = EPS) -> Tensor:
    """Return filters whose responses to the images' patches are uncorrelated, by falling variance.

    They are the eigenvectors of the second moments of all patches (not overlapping), each divided
    by `sqrt(eigenvalue + eps)`, so that the responses have a mean square of about 1. Source: Page,
    "How to Train Your ResNet 8: Bag of Tricks", 2019.

    Args:
        images: float `[N, C, H, W]`, after `preprocess`.
        size: height and width of a patch.
        eps: see `EPS`.

    Returns:
        float32 `[C * height * width, C, height, width]`.

    >>> images = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> filters = whitening_filters(images, (2, 2), eps=0.0)
    >>> responses = nn.functional.conv2d(images, filters, stride=2).transpose(0, 1).flatten(1)
    >>> torch.allclose(responses @ responses.T / responses.shape[1], torch.eye(4), atol=1e-5)
    True
    """
    (height, width), channels = size, images.shape[1]
    patches = images.unfold(2, height, height).unfold(3, width, width).permute(0, 2, 3, 1, 4, 5)
    rows = patches.reshape(-1, channels * height * width).to(torch.float64)
    values, vectors = torch.linalg.eigh(rows.mT @ rows / len(rows))
    filters = (vectors / (values.clamp(min=0.0) + eps).sqrt()).mT.flip(0)
    return filters.to(torch.float32).reshape(-1, channels, height, width)


def first_convolution(model: Model) -> str:
    """Return the name of the weight of a network's first convolution, in the order of the module.

    Raises:
        ValueError: the network has no `nn.Conv2d` that takes all channels of an image.

    >>> from fnet import models
    >>> first_convolution(models.dainet7())
    '0.weight'
    """
    network = network_of(model)
    for name, layer in network.modules[False].module.named_modules():
        weight = leaf_name(name, "weight")
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and weight in network.shapes:
            return weight
    raise ValueError("the network has no convolution that could whiten images: leave out --whiten")


def whitened(model: Model, images: Tensor, preprocess: Callable[[Tensor], Tensor]) -> Model:
    """Return the model with whitening filters as initial weights of its first convolution.

    Each filter stands there twice, once negated, because the activation cuts off one side. Outputs
    without a filter keep their initial weights; if there are too few outputs, the filters of the
    smallest variance are left out.

    Args:
        model: the network.
        images: the training images `[N, C, H, W]`; about `PATCHES` of their patches are used.
        preprocess: as in training.

    Raises:
        ValueError: the network has no such convolution; see `first_convolution`.
    """
    name = first_convolution(model)
    height, width = network_of(model).shapes[name][2:]
    each = max(1, (images.shape[2] // height) * (images.shape[3] // width))
    count = max(MIN_IMAGES, PATCHES // each)
    filters = whitening_filters(
        preprocess(images[:: max(1, len(images) // count)]), (height, width)
    )

    def init(key: Tensor) -> Params:
        params = model.init(key)
        weight = params.trainable[name]
        kept = filters[: weight.shape[0] // 2].to(weight.device, weight.dtype)
        start = torch.cat([kept, -kept, weight[2 * len(kept) :]])
        # Not `start` itself: the strides are those of the model.
        new = {**params.trainable, name: torch.empty_like(weight).copy_(start)}
        return params._replace(trainable=new)

    return model._replace(init=init)
