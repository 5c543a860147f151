"""The description of a row, independent of a framework.

Imports no framework, so that the process of a contender only imports its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

ArrayName = Literal["train_images", "train_labels", "test_images", "test_labels", "inputs"]

CROP = 4
"""The padding in pixels before the random crop."""


@dataclass(frozen=True)
class Adam:
    """Adam with `b1` 0.9, `eps` 1e-8 and L2 weight decay, as `torch.optim.Adam`."""

    lr: float
    b2: float = 0.999
    weight_decay: float = 0.0


@dataclass(frozen=True)
class SGD:
    """Momentum SGD with L2 weight decay, as `torch.optim.SGD`."""

    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0


Optimizer: TypeAlias = Adam | SGD


@dataclass(frozen=True)
class Work:
    """One row of the benchmark.

    Attributes:
        network: the name of the row and of the network.
        recipe: the module of fnet's recipe, "recipes.dainet7".
        variant: the variant of the recipe.
        optimizer: the recipe's optimizer for the peers, with a constant learning rate.
        augmented: whether the recipe uses a random crop (with padding `CROP`) and flip.
        batch_size: images in a training batch.
        classes: the number of classes.
        folder: the directory of the arrays, `NAME.npy`.
        device: "cpu", "cuda:0", ...
        bf16: whether fnet uses bfloat16, and the peers are tried with it.
        compiled: whether steps may be compiled.
        threads: threads of one operation on the CPU.
    """

    network: str
    recipe: str
    variant: str
    optimizer: Optimizer
    augmented: bool
    batch_size: int
    classes: int
    folder: str
    device: str
    bf16: bool
    compiled: bool
    threads: int

    def load(self, name: ArrayName) -> np.ndarray[Any, Any]:
        """Return an array of the row's data.

        Images are uint8 `[N, H, W, C]`, labels int64 `[N]`. "inputs" are the training images after
        preprocessing, without augmentation, float32 `[N, H, W, C]`.
        """
        array: np.ndarray[Any, Any] = np.load(Path(self.folder, f"{name}.npy"))
        return array
