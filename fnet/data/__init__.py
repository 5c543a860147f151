"""Data sets in memory, batches as a pure function of a step, augmentation, preprocessing."""

from fnet.data.augment import Augment, compose, crop, flip, random_crop, random_flip
from fnet.data.batches import Batch, batch_at, batches, eval_batches, steps_per_epoch
from fnet.data.dataset import DataError, Dataset
from fnet.data.load import Split, data_dir, load
from fnet.data.preprocess import (
    NORM_CIFAR10,
    NORM_HALF,
    Normalize,
    Preprocess,
    normalize,
    statistics,
)
from fnet.data.shapes import shapes

__all__ = [
    "NORM_CIFAR10",
    "NORM_HALF",
    "Augment",
    "Batch",
    "DataError",
    "Dataset",
    "Normalize",
    "Preprocess",
    "Split",
    "batch_at",
    "batches",
    "compose",
    "crop",
    "data_dir",
    "eval_batches",
    "flip",
    "load",
    "normalize",
    "random_crop",
    "random_flip",
    "shapes",
    "statistics",
    "steps_per_epoch",
]
