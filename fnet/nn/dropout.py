"""Dropout whose masks are a pure function of a key, in place of PyTorch's global generator.

A layer gets its key and its rate as buffers, the same way a weight gets its value: as entries of
the dict given to `functional_call`. In evaluation mode every layer here is the identity.
"""

import sys

import torch
from torch import Tensor, nn

from fnet import random


class KeyedDropout(nn.Module):
    """Zero parts of the input with probability `p` and scale the rest by `1 / (1 - p)`.

    Source: `torch.nn.Dropout` and its relatives. `dims` is the number of leading dimensions that
    get a draw of their own: all of them (None) for Dropout, 2 for Dropout2d (whole channels), 1
    for stochastic depth by row, 0 for stochastic depth by batch.

    Buffers: `key`, int64 `[2]` or one for each sample `[N, 2]`; `p`, float32 0-d.
    """

    key: Tensor
    p: Tensor

    def __init__(self, p: float, dims: int | None) -> None:
        super().__init__()
        self.dims = dims
        self.register_buffer("p", torch.tensor(p, dtype=torch.float32))
        self.register_buffer("key", torch.zeros(2, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with parts of it zeroed; same shape, dtype and layout."""
        if not self.training:
            return x
        keep = self._keep(x)
        # Until functional_call puts back what was there: another call draws another mask.
        self.key = random.fold_in(self.key, 1)
        # p = 1 keeps nothing: the maximum only prevents 0 * inf in the gradient.
        scale = 1.0 / torch.clamp(1.0 - self.p, min=torch.finfo(torch.float32).tiny)
        return torch.where(
            keep, x * scale.to(x.dtype), torch.zeros((), dtype=x.dtype, device=x.device)
        )

    def _keep(self, x: Tensor) -> Tensor:
        """Return the mask, True where `x` is kept, in a shape that broadcasts with `x`."""
        size = list(x.shape if self.dims is None else x.shape[: self.dims])
        key = self.key
        if key.dim() == 2:
            # A key for each sample draws the rest of the shape (of several for one, the first's).
            size, key = (size[1:], key) if size else (size, key[0])
        if self.dims is None and x.dim() == 4:
            # Drawn in channels-last order, the mask meets the pixels as they lie in memory.
            *batch, channels, height, width = size
            keep = random.fast_bernoulli(key, 1.0 - self.p, (*batch, height, width, channels))
            return keep.permute(0, 3, 1, 2)
        keep = random.fast_bernoulli(key, 1.0 - self.p, size)
        return keep.reshape(*keep.shape, *[1] * (x.dim() - keep.dim()))


_DIMS: dict[type[nn.Module], int | None] = {
    nn.Dropout: None,
    nn.Dropout1d: 2,
    nn.Dropout2d: 2,
    nn.Dropout3d: 2,
}


def keyed(module: nn.Module) -> nn.Module | None:
    """Return what takes the place of a layer that draws masks, None for any other layer.

    That is a `KeyedDropout`, or where the rate is 0 the identity.
    """
    if _is_stochastic_depth(module):
        dims: int | None = 1 if module.mode == "row" else 0
    elif type(module) in _DIMS:
        dims = _DIMS[type(module)]
    else:
        return None
    rate = float(module.p)  # type: ignore[arg-type]
    return KeyedDropout(rate, dims) if rate > 0 else nn.Identity()


def _is_stochastic_depth(module: nn.Module) -> bool:
    # A network that has the layer has imported it; others need not wait for torchvision.
    its_own = sys.modules.get("torchvision.ops.stochastic_depth")
    return its_own is not None and isinstance(module, its_own.StochasticDepth)


def is_dropout_rate(name: str) -> bool:
    """Tell whether an entry of `Params.stats` is the rate of a dropout layer, by its name."""
    return name.rpartition(".")[2] == "p"
