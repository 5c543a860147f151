"""Optimizers, activations and augmentations by name, for the options of the experiments."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from fnet import optim
from fnet.data import (
    Augment,
    Batch,
    alternating_flip,
    color_jitter,
    compose,
    random_affine,
    random_crop,
    random_flip,
    random_grayscale,
)
from fnet.data import cutout as black_square
from fnet.models import Activation
from fnet.optim import GradientTransformation

OptimizerName = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "muon"]
ScheduleName = Literal["constant", "one_cycle", "plateau"]
OLD_NAMES = {"original": "author"}
"""Names that variants had in older versions."""

ActivationName = Literal["relu", "sigmoid", "tanh", "softplus"]
AugmentName = Literal["none", "crop", "crop_flip", "crop_alternate", "affine", "more"]


def optimizer(
    name: OptimizerName,
    rate: optim.Hyper,
    *,
    weight_decay: float | None = None,
    b2: float = 0.999,
) -> GradientTransformation:
    """Return an optimizer with the defaults of torch and momentum 0.9.

    The weight decay of adamw is decoupled, that of all others is L2. For "muon", which has a second
    learning rate, see `muon`.
    """
    if weight_decay is None:
        weight_decay = 0.01 if name == "adamw" else 0.0
    match name:
        case "sgd":
            tx = optim.sgd(rate, weight_decay=weight_decay)
        case "momentum":
            tx = optim.sgd(rate, momentum=0.9, weight_decay=weight_decay)
        case "nesterov":
            tx = optim.sgd(rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        case "rmsprop":
            tx = optim.rmsprop(rate, weight_decay=weight_decay)
        case "adam":
            tx = optim.adam(rate, b2=b2, weight_decay=weight_decay)
        case "adamw":
            tx = optim.adamw(rate, b2=b2, weight_decay=weight_decay)
        case "muon":
            raise ValueError("muon has a learning rate of its own for what Adam trains: use muon()")
    return optim.flatten(tx, min_leaves=16)


def muon(
    rate: optim.Hyper,
    adam_rate: optim.Hyper,
    weight_decay: float,
    *,
    classes: int = 0,
    b2: float = 0.99,
) -> GradientTransformation:
    """Return Muon for convolutions, and Adam without weight decay for all other parameters.

    Args:
        rate: Muon's learning rate.
        adam_rate: Adam's.
        weight_decay: Muon's, decoupled.
        classes: the outputs of the last linear layer: all others are Muon's as well. 0: none is.
        b2: Adam's.
    """

    def group(path: str, leaf: Tensor) -> str:
        hidden = leaf.dim() == 2 and classes not in (0, leaf.shape[0])
        return "muon" if leaf.dim() == 4 or hidden else "adam"

    adam = optimizer("adam", adam_rate, b2=b2)
    return optim.partition(
        {"muon": optim.muon(rate, weight_decay=weight_decay), "adam": adam}, group
    )


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


def augment(
    name: AugmentName, *, width: int, crop: int = 4, cutout: int = 0, seed: int = 0
) -> Augment | None:
    """Return the augmentation, None for "none" without cutout.

    Args:
        name: "crop": a shift by up to `crop` pixels. "crop_flip": crop, then a horizontal flip
            with probability 0.5. "crop_alternate": crop, then a flip in every other epoch.
            "affine", for digits: a small rotation, shift and scale. "more", of the study: affine,
            grayscale and colour, then crop and flip.
        width: the width of the data set's images. Of images that are resized in the first epochs,
            `crop` and `cutout` are the same fractions.
        crop: in pixels of an image of that width.
        cutout: the side of a black square on each image, in the same pixels; 0: none.
        seed: draws which images are flipped in the even epochs.
    """
    shift, mirror = _in_proportion(random_crop, crop, width), random_flip()
    parts: dict[AugmentName, tuple[Augment, ...]] = {
        "none": (),
        "crop": (shift,),
        "crop_flip": (shift, mirror),
        "crop_alternate": (shift, alternating_flip(seed)),
        "affine": (random_affine(10, translate=(0.1, 0.1), scale=(0.9, 1.1)),),
        "more": (
            random_affine(5),
            random_grayscale(0.1),
            color_jitter(0.3, 0.3, 0.3, 0.4),
            shift,
            mirror,
        ),
    }
    square = (_in_proportion(black_square, cutout, width),) if cutout else ()
    chosen = parts[name] + square
    return compose(*chosen) if chosen else None


def _in_proportion(make: Callable[[int], Augment], pixels: int, width: int) -> Augment:
    """Return the augmentation of a number of pixels, which is scaled with the images."""

    def augment(batch: Batch) -> Batch:
        return make(round(pixels * batch.images.shape[-1] / width))(batch)

    return augment
