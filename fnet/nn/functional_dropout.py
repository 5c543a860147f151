"""Keyed replacements of `F.dropout` and its relatives, called by `KeyedDraws`."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fnet.nn.draws import Instead, KeyedDraws
from fnet.nn.dropout import keep_mask, scaled
from fnet.nn.functional_draws import _exponential as exponential


def keyed_dropout(draws: KeyedDraws, x: Tensor, rate: Any, dims: int | None = None) -> Tensor:
    """Return `x` with parts of it zeroed, with a mask drawn from the next key."""
    key, _ = draws.rows(x.shape if dims is None else x.shape[:dims])
    return scaled(x, keep_mask(key, rate, x, dims), rate)


def is_zero(rate: Any) -> bool:
    """Return whether a rate is the number 0; the value of a tensor is not read."""
    return not isinstance(rate, Tensor) and rate == 0


def _dropout(dims: int | None, ahead: int) -> Instead:
    """Return the replacement of a dropout function; `ahead` is the number of dims of a batch."""

    def instead(
        draws: KeyedDraws,
        func: Any,
        input: Tensor,
        p: Any = 0.5,
        training: bool | None = None,
        inplace: bool = False,
        train: bool | None = None,
    ) -> Tensor:
        # `torch.dropout` calls this argument `train`, and has no default for it.
        training = train if training is None else training
        training = True if training is None else training
        _require_rate(p)
        if not training or is_zero(p):
            return input
        if dims == 2 and input.dim() == ahead - 1:  # no batch dimension
            y = keyed_dropout(draws, input.unsqueeze(0), p, dims).squeeze(0)
        else:
            y = keyed_dropout(draws, input, p, dims)
        return input.copy_(y) if inplace or func is torch.dropout_ else y

    return instead


def _alpha(dims: int | None) -> Instead:
    """Return the replacement of alpha dropout (Klambauer et al., 2017)."""

    def instead(
        draws: KeyedDraws,
        func: Any,
        input: Tensor,
        p: float = 0.5,
        training: bool | None = None,
        inplace: bool = False,
        train: bool | None = None,
    ) -> Tensor:
        training = train if training is None else training
        _require_rate(p)
        if not training or is_zero(p):
            return input
        if p == 1:
            return torch.zeros_like(input)
        key, _ = draws.rows(input.shape if dims is None else input.shape[:dims])
        keep = keep_mask(key, p, input, dims)
        # Dropped numbers become the limit of SELU at minus infinity; the affine map below restores
        # mean and variance.
        dropped = -1.7580993408473766
        a = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * dropped**2))
        y = a * torch.where(keep, input, dropped) - a * dropped * p
        y = y.to(input.dtype)
        return input.copy_(y) if inplace else y

    return instead


def _rrelu(
    draws: KeyedDraws,
    func: Any,
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    if not training:
        return F.leaky_relu(input, (lower + upper) / 2, inplace)
    slope = lower + (upper - lower) * draws.uniform(input.shape).to(input.dtype)
    y = torch.where(input < 0, input * slope, input)
    return input.copy_(y) if inplace else y


def _gumbel_softmax(
    draws: KeyedDraws,
    func: Any,
    logits: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
) -> Tensor:
    noise = -exponential(draws, logits.shape).log().to(logits.dtype)
    soft = torch.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one_hot = torch.zeros_like(soft).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft


def _require_rate(p: Any) -> None:
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


FUNCTIONS: dict[Any, Instead] = {
    F.dropout: _dropout(None, 0),
    F.dropout1d: _dropout(2, 3),
    F.dropout2d: _dropout(2, 4),
    F.dropout3d: _dropout(2, 5),
    F.alpha_dropout: _alpha(None),
    F.feature_alpha_dropout: _alpha(2),
    F.rrelu: _rrelu,
    F.gumbel_softmax: _gumbel_softmax,
    torch.dropout: _dropout(None, 0),
    torch.dropout_: _dropout(None, 0),
    torch.feature_dropout: _dropout(2, 0),
    torch.alpha_dropout: _alpha(None),
    torch.feature_alpha_dropout: _alpha(2),
}
