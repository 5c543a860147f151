"""Dropout layers whose masks are a pure function of a key, not of PyTorch's global generator.

A layer gets its key and its rate as buffers, in the same way as a weight: as entries of the dict
given to `functional_call`. In evaluation mode every layer here is the identity.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fnet import private, random
from fnet.nn.model import leaf_name


class KeyedDropout(nn.Module):
    """Zero parts of the input with probability `rate` and scale the rest by `1 / (1 - rate)`.

    Source: `torch.nn.Dropout` and its relatives. `dims` is the number of leading dimensions of the
    mask; it broadcasts over the others. It is all of them (None) for Dropout, 2 for Dropout2d
    (whole channels), 1 for stochastic depth by row, 0 for stochastic depth by batch.

    Buffers: `key`, int64 `[2]` or one for each sample `[N, 2]`; `rate`, float32 0-d, which is the
    entry `p` of `Params.stats`. Attributes such as `p` and `inplace` are copied from the layer that
    it replaces: a network that reads `layer.p` gets the rate that the layer was built with.
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
        """Return `x` with parts of it zeroed; same shape, dtype and strides."""
        if not self.training:
            return x
        keep = keep_mask(self.key, self.rate, x, self.dims)
        # So a second call of the layer draws another mask. functional_call restores the buffer.
        self.key = random.fold_in(self.key, 1)
        return scaled(x, keep, self.rate)


def layer_keys(key: Tensor, layers: list[str]) -> dict[str, Tensor]:
    """Return a key for each layer, folded from the key (or keys) and the layer's position."""
    if not layers:
        return {}
    positions = torch.arange(len(layers), device=key.device)
    keys = random.fold_in(key.unsqueeze(-2), positions)
    return {leaf_name(name, "key"): keys[..., place, :] for place, name in enumerate(layers)}


def keep_mask(key: Tensor, rate: float | Tensor, x: Tensor, dims: int | None) -> Tensor:
    """Return the mask, True where `x` is kept, in a shape that broadcasts with `x`."""
    key, size = rows(key, x.shape if dims is None else x.shape[:dims])
    if dims is None and x.dim() == 4:
        # Drawn in channels-last order, so that mask and pixels have the same memory format.
        *batch, channels, height, width = size
        keep = random.fast_bernoulli(key, 1.0 - rate, (*batch, height, width, channels))
        return keep.permute(0, 3, 1, 2)
    keep = random.fast_bernoulli(key, 1.0 - rate, size)
    return keep.reshape(*keep.shape, *[1] * (x.dim() - keep.dim()))


def scaled(x: Tensor, keep: Tensor, rate: float | Tensor) -> Tensor:
    """Return `x / (1 - rate)` where `keep` is True, else 0."""
    if isinstance(rate, Tensor):
        # A rate of 1 keeps nothing: clamp only prevents 0 * inf in the gradient.
        rest = torch.clamp(1.0 - rate, min=torch.finfo(torch.float32).tiny)
        x = x * (1.0 / rest).to(x.dtype)
    elif rate < 1:
        x = x * (1.0 / (1.0 - rate))
    return torch.where(keep, x, torch.zeros((), dtype=x.dtype, device=x.device))


def rows(key: Tensor, shape: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Return the key or keys for a draw of a shape, and the shape that each key draws.

    With one key per sample: if the first dimension is the batch size, each key draws its sample's
    numbers. Any other shape is drawn from the first sample's key, and so depends on how a batch is
    split.
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
    """Return the keyed replacement of a dropout layer, None for any other layer.

    A layer whose rate is 0 draws nothing and is not replaced. Nor is a layer with its own `forward`
    or tensors: its draws are keyed by `KeyedDraws`, as those of any `forward`.
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
    # A network that has this layer has imported torchvision; others must not wait for the import.
    its_own = sys.modules.get("torchvision.ops.stochastic_depth")
    return its_own is not None and type(layer) is its_own.StochasticDepth


def is_dropout_rate(name: str) -> bool:
    """Return whether an entry of `Params.stats` is the rate of a dropout layer, by its name."""
    return name.rpartition(".")[2] == "p"
