"""What a model is: a pytree of tensors, and two pure functions that make and use it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Params(NamedTuple):
    """The tensors of a model, under the names that the equivalent module's `state_dict` has.

    `trainable` holds what gradients are taken of; `stats` holds what the forward pass itself
    keeps: running statistics, constant tables, and the rate `p` of each dropout layer (a 0-d
    tensor, so that it can change during training without a new compile).
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
    """A network without tensors: everything it computes with is handed to it.

    `init(key) -> Params` makes parameters, a pure function of the key. `apply(params, images, *,
    key=None, train=False) -> (logits, stats)` is the forward pass, pure as well: in training mode
    normalisation uses the batch and `stats` are the updated statistics; in evaluation mode they
    are those that came in. `key` (one `[2]`, or one for each sample `[N, 2]`) drives dropout in
    training mode. The dtype of the images decides the precision: weights are cast to it, those of
    normalisation layers excepted. `make()` builds the equivalent `nn.Module`.
    """

    init: Callable[[Tensor], Params]
    apply: Apply
    make: Callable[[], nn.Module]


def leaf_name(layer: str, leaf: str) -> str:
    """Return what `Params` calls a tensor of a layer: "conv1.weight" of "conv1", "weight" of "".

    A layer goes by its dotted name; the empty one is that of the network itself.
    """
    return f"{layer}.{leaf}" if layer else leaf
