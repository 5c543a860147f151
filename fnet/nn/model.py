"""The model: a pytree of parameters, and two pure functions that make and use it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Params(NamedTuple):
    """The tensors of a model, under the names of the equivalent module's `state_dict`.

    Gradients are taken with respect to `trainable`. `stats` holds the other tensors of the forward
    pass: running statistics, constant tables, frozen parameters, and the rate `p` of each dropout
    layer (a 0-d tensor, so that it can change during training without recompilation).
    """

    trainable: dict[str, Tensor]
    stats: dict[str, Tensor]


class Apply(Protocol):
    """The type of `Model.apply`."""

    def __call__(
        self, params: Params, images: Tensor, *, key: Tensor | None = None, train: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `(logits [N, classes], stats)` of float images `[N, C, H, W]`."""


class Model(NamedTuple):
    """A network without tensors: all tensors are passed to it as arguments.

    `init(key) -> Params` makes parameters, a pure function of the key. `apply(params, images, *,
    key=None, train=False) -> (logits, stats)` is the forward pass, also pure. In training mode,
    normalisation uses the statistics of the batch, and `stats` are the updated running statistics;
    in evaluation mode `stats` are returned unchanged. `key` (one `[2]`, or one for each sample
    `[N, 2]`) is for dropout in training mode. The dtype of the images decides the precision:
    weights are cast to it, except those of normalisation layers. `make()` builds the equivalent
    `nn.Module`.
    """

    init: Callable[[Tensor], Params]
    apply: Apply
    make: Callable[[], nn.Module]


def leaf_name(layer: str, leaf: str) -> str:
    """Return the name of a layer's tensor in `Params`: "conv1.weight" for "conv1" and "weight".

    The layer is given by its dotted name; the name of the network itself is "".
    """
    return f"{layer}.{leaf}" if layer else leaf
