"""Dropout whose masks are a pure function of a key, in place of PyTorch's global generator.

A layer gets its key and its rate as buffers, the same way a weight gets its value: as entries of
the dict given to `functional_call`. In evaluation mode every layer here is the identity.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fnet import private, random


class KeyedDropout(nn.Module):
    """Zero parts of the input with probability `rate` and scale the rest by `1 / (1 - rate)`.

    Source: `torch.nn.Dropout` and its relatives. `dims` is the number of leading dimensions that
    get a draw of their own: all of them (None) for Dropout, 2 for Dropout2d (whole channels), 1
    for stochastic depth by row, 0 for stochastic depth by batch.

    Buffers: `key`, int64 `[2]` or one for each sample `[N, 2]`; `rate`, float32 0-d, which is the
    entry `p` of `Params.stats`. Attributes such as `p` and `inplace` are those of the layer that it
    stands for: a network that reads `layer.p` gets the number that the layer was built with.
    """

    key: Tensor
    rate: Tensor

    def __init__(self, rate: float, dims: int | None) -> None:
        super().__init__()
        self.dims = dims
        self.register_buffer("rate", torch.tensor(rate, dtype=torch.float32))
        self.register_buffer("key", torch.zeros(2, dtype=torch.int64), persistent=False)

    def drawn_shape(self, x: Tensor) -> torch.Size:
        """Return the shape of the mask: the dimensions of `x` that get a draw of their own."""
        return x.shape if self.dims is None else x.shape[: self.dims]

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with parts of it zeroed; same shape, dtype and layout."""
        if not self.training:
            return x
        keep = keep_mask(self.key, self.rate, x, self.dims)
        # Until functional_call puts back what was there: another call draws another mask.
        self.key = random.fold_in(self.key, 1)
        return scaled(x, keep, self.rate)


def keep_mask(key: Tensor, rate: float | Tensor, x: Tensor, dims: int | None) -> Tensor:
    """Return the mask, True where `x` is kept, in a shape that broadcasts with `x`."""
    key, size = rows(key, x.shape if dims is None else x.shape[:dims])
    if dims is None and x.dim() == 4:
        # Drawn in channels-last order, the mask meets the pixels as they lie in memory.
        *batch, channels, height, width = size
        keep = random.fast_bernoulli(key, 1.0 - rate, (*batch, height, width, channels))
        return keep.permute(0, 3, 1, 2)
    keep = random.fast_bernoulli(key, 1.0 - rate, size)
    return keep.reshape(*keep.shape, *[1] * (x.dim() - keep.dim()))


def scaled(x: Tensor, keep: Tensor, rate: float | Tensor) -> Tensor:
    """Return `x / (1 - rate)` where it is kept, else 0."""
    if isinstance(rate, Tensor):
        # A rate of 1 keeps nothing: the maximum only prevents 0 * inf in the gradient.
        rest = torch.clamp(1.0 - rate, min=torch.finfo(torch.float32).tiny)
        x = x * (1.0 / rest).to(x.dtype)
    elif rate < 1:
        x = x * (1.0 / (1.0 - rate))
    return torch.where(keep, x, torch.zeros((), dtype=x.dtype, device=x.device))


def rows(key: Tensor, shape: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Return the key or keys that draw numbers of a shape, and what shape each of them draws.

    A key for each sample draws what belongs to the sample, if the first dimension is the samples';
    any other shape is drawn from the first sample's key, and depends on how a batch is cut.
    """
    if key.dim() == 1:
        return key, tuple(shape)
    if shape and shape[0] == key.shape[0]:
        return key, tuple(shape[1:])
    return key[0], tuple(shape)


_DIMS: dict[type[nn.Module], int | None] = {
    nn.Dropout: None,
    nn.Dropout1d: 2,
    nn.Dropout2d: 2,
    nn.Dropout3d: 2,
}


def keyed(layer: nn.Module) -> KeyedDropout | None:
    """Return what takes the place of a layer that draws masks, None for any other layer.

    A layer whose rate is 0 draws none. One with a `forward` or tensors of its own stays what it is:
    what it draws is keyed as what any `forward` draws.
    """
    if _is_stochastic_depth(layer):
        dims: int | None = 1 if layer.mode == "row" else 0
    elif type(layer) in _DIMS:
        dims = _DIMS[type(layer)]
    else:
        return None
    rate = float(layer.p)  # type: ignore[arg-type]
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if rate <= 0 or "forward" in vars(layer) or tensors:
        return None
    stand_in = KeyedDropout(rate, dims)
    vars(stand_in).update({k: v for k, v in vars(layer).items() if k not in private.registries()})
    return stand_in


def _is_stochastic_depth(layer: nn.Module) -> bool:
    # A network that has the layer has imported it; others need not wait for torchvision.
    its_own = sys.modules.get("torchvision.ops.stochastic_depth")
    return its_own is not None and type(layer) is its_own.StochasticDepth


def is_dropout_rate(name: str) -> bool:
    """Tell whether an entry of `Params.stats` is the rate of a dropout layer, by its name."""
    return name.rpartition(".")[2] == "p"
