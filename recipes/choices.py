"""Optimizers, activations and augmentations by name, for the options of the experiments."""

from typing import Literal

from torch import nn

from fnet import optim
from fnet.data import (
    Augment,
    color_jitter,
    compose,
    random_affine,
    random_crop,
    random_flip,
    random_grayscale,
)
from fnet.models import Activation
from fnet.optim import GradientTransformation, Schedule

OptimizerName = Literal["sgd", "momentum", "rmsprop", "adam", "adamw"]
ActivationName = Literal["relu", "sigmoid", "tanh", "softplus"]
AugmentName = Literal["none", "crop_flip", "more"]


def optimizer(
    name: OptimizerName,
    rate: float | Schedule,
    *,
    weight_decay: float | None = None,
    b2: float = 0.999,
) -> GradientTransformation:
    """Return an optimizer with the defaults of torch and momentum 0.9.

    The weight decay of adamw is decoupled, that of all others is L2.
    """
    if weight_decay is None:
        weight_decay = 0.01 if name == "adamw" else 0.0
    match name:
        case "sgd":
            tx = optim.sgd(rate, weight_decay=weight_decay)
        case "momentum":
            tx = optim.sgd(rate, momentum=0.9, weight_decay=weight_decay)
        case "rmsprop":
            tx = optim.rmsprop(rate, weight_decay=weight_decay)
        case "adam":
            tx = optim.adam(rate, b2=b2, weight_decay=weight_decay)
        case "adamw":
            tx = optim.adamw(rate, b2=b2, weight_decay=weight_decay)
    return optim.flatten(tx, min_leaves=16)


def activation(name: ActivationName) -> Activation:
    """Return the class of the activation layers."""
    match name:
        case "relu":
            return nn.ReLU
        case "sigmoid":
            return nn.Sigmoid
        case "tanh":
            return nn.Tanh
        case "softplus":
            return nn.Softplus


def augment(name: AugmentName) -> Augment | None:
    """Return the augmentation: none, crop and flip, or more of them before crop and flip."""
    crop_flip = random_crop(4), random_flip()
    match name:
        case "none":
            return None
        case "crop_flip":
            return compose(*crop_flip)
        case "more":
            return compose(
                random_affine(5),
                random_grayscale(0.1),
                color_jitter(0.3, 0.3, 0.3, 0.4),
                *crop_flip,
            )
