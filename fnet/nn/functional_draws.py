"""Keyed replacements of `torch.rand` and its relatives, called by `KeyedDraws`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fnet import random
from fnet.nn.draws import Instead, KeyedDraws

# Draws float32 numbers (or integers) of a shape; further arguments are the distribution's.
Draw = Callable[..., Tensor]


def _uniform(
    draws: KeyedDraws, shape: Any, low: Any = 0.0, high: Any = 1.0, **names: Any
) -> Tensor:
    low, high = names.get("from", low), names.get("to", high)
    return low + (high - low) * draws.uniform(shape)


def _normal(draws: KeyedDraws, shape: Any, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    return mean + std * draws.normal(shape)


def _bernoulli(draws: KeyedDraws, shape: Any, p: Any = 0.5) -> Tensor:
    return draws.uniform(shape) < p


def _positive(draws: KeyedDraws, shape: Any) -> Tensor:
    """Return uniform numbers in (0, 1], whose logarithm is finite."""
    return 1.0 - draws.uniform(shape)


def _exponential(draws: KeyedDraws, shape: Any, lambd: float = 1.0) -> Tensor:
    # Clamped below 1, so that no result is 0, as in PyTorch.
    eps = torch.finfo(torch.float32).eps / 2
    return -torch.log(_positive(draws, shape).clamp(max=1.0 - eps)) / lambd


def _geometric(draws: KeyedDraws, shape: Any, p: float) -> Tensor:
    return (torch.log(_positive(draws, shape)) / math.log1p(-p)).ceil().clamp(min=1.0)


def _cauchy(draws: KeyedDraws, shape: Any, median: float = 0.0, sigma: float = 1.0) -> Tensor:
    return median + sigma * torch.tan(math.pi * (draws.uniform(shape) - 0.5))


def _log_normal(draws: KeyedDraws, shape: Any, mean: float = 1.0, std: float = 2.0) -> Tensor:
    return torch.exp(_normal(draws, shape, mean, std))


def _integers(draws: KeyedDraws, shape: Any, *bounds: Any, **names: Any) -> Tensor:
    low, high = (0, *bounds)[-2:] if bounds else (0, None)
    low, high = names.get("low", low), names.get("high", high)
    key, each = draws.rows(shape)
    return random.randint(key, each, int(low), int(high))


def _random(draws: KeyedDraws, like: Tensor, *bounds: Any, **names: Any) -> Tensor:
    low, high = (0, *bounds)[-2:] if bounds else (names.get("from", 0), names.get("to"))
    if high is None:
        # As in PyTorch: all integers that the dtype represents exactly.
        digits = {torch.float32: 24, torch.float64: 31, torch.bfloat16: 8, torch.float16: 11}
        bits = digits.get(like.dtype) or min(31, torch.iinfo(like.dtype).bits - 1)
        high = 2**bits
    return _integers(draws, like.shape, low, high)


def _of_size(draw: Draw, dtype: torch.dtype | None) -> Instead:
    """Return the replacement of a function such as `torch.rand(*size)`."""

    def instead(draws: KeyedDraws, func: Any, *args: Any, **kwargs: Any) -> Any:
        options, out, gradient = _options(draws, kwargs)
        size = kwargs.pop("size", None)
        numbers: list[Any] = []
        if draw is _integers:
            *numbers, size = [*args, *([] if size is None else [size])]
        elif size is None:
            size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
        options.setdefault("dtype", dtype or torch.get_default_dtype())
        value = draw(draws, tuple(size), *numbers, **kwargs).to(**options)
        value = value if out is None else out.copy_(value)
        return value.requires_grad_() if gradient else value

    return instead


def _like(draw: Draw) -> Instead:
    """Return the replacement of a function such as `torch.rand_like(x)`."""

    def instead(draws: KeyedDraws, func: Any, like: Tensor, *args: Any, **kwargs: Any) -> Any:
        options, _, gradient = _options(draws, kwargs)
        options = {"dtype": like.dtype, "device": like.device, **options}
        value = draw(draws, like.shape, *args, **kwargs).to(**options)
        return value.requires_grad_() if gradient else value

    return instead


def _in_place(draw: Draw, takes_tensor: bool = False) -> Instead:
    """Return the replacement of a method such as `x.normal_()`."""

    def instead(draws: KeyedDraws, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("generator", None)
        # The result does not depend on the old values of x, so no gradient flows back to them.
        return x.copy_(draw(draws, x if takes_tensor else x.shape, *args, **kwargs))

    return instead


def _bernoulli_of(draws: KeyedDraws, func: Any, p: Any, *args: Any, **kwargs: Any) -> Tensor:
    rate = args[0] if args else kwargs.get("p")
    value = _bernoulli(draws, p.shape, p.detach() if rate is None else rate).to(p.dtype)
    return value if kwargs.get("out") is None else kwargs["out"].copy_(value)


def _normal_of(
    draws: KeyedDraws, func: Any, mean: Any, std: Any = 1.0, size: Any = None, **kwargs: Any
) -> Tensor:
    options, out, _ = _options(draws, kwargs)
    tensors = [it for it in (mean, std) if isinstance(it, Tensor)]
    if size is None:
        size = torch.broadcast_shapes(*[it.shape for it in tensors])
    options.setdefault("dtype", tensors[0].dtype if tensors else torch.get_default_dtype())
    value = _normal(draws, tuple(size), mean, std).to(**options)
    return value if out is None else out.copy_(value)


def _permutation(draws: KeyedDraws, func: Any, n: int, **kwargs: Any) -> Tensor:
    options, out, _ = _options(draws, kwargs)
    # The permutation belongs to no sample, whatever n is: draw it as a 0-d shape.
    key, _ = draws.rows(())
    value = random.permutation(key, int(n)).to(**{"dtype": torch.int64, **options})
    return value if out is None else out.copy_(value)


def _multinomial(
    draws: KeyedDraws, func: Any, p: Tensor, num_samples: int, replacement: bool = False, **_: Any
) -> Tensor:
    if replacement:
        shares = p.cumsum(-1)
        u = draws.uniform((*p.shape[:-1], num_samples)).to(p.dtype) * shares[..., -1:]
        return torch.searchsorted(shares, u, right=True).clamp(max=p.shape[-1] - 1)
    # Exponential times divided by p, in ascending order, are draws without replacement.
    times = _exponential(draws, p.shape) / p
    return times.topk(num_samples, dim=-1, largest=False).indices


def _options(draws: KeyedDraws, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Any, bool]:
    """Remove options from `kwargs`; return dtype and device, `out`, and `requires_grad`."""
    for name in ("layout", "pin_memory", "memory_format", "generator", "names"):
        kwargs.pop(name, None)
    given = {name: kwargs.pop(name, None) for name in ("dtype", "device")}
    options = {name: value for name, value in given.items() if value is not None}
    return options, kwargs.pop("out", None), bool(kwargs.pop("requires_grad", False))


FUNCTIONS: dict[Any, Instead] = {
    torch.rand: _of_size(_uniform, None),
    torch.randn: _of_size(_normal, None),
    torch.randint: _of_size(_integers, torch.int64),
    torch.rand_like: _like(_uniform),
    torch.randn_like: _like(_normal),
    torch.randint_like: _like(_integers),
    torch.normal: _normal_of,
    torch.bernoulli: _bernoulli_of,
    torch.randperm: _permutation,
    torch.multinomial: _multinomial,
    Tensor.bernoulli: _bernoulli_of,
    Tensor.multinomial: _multinomial,
    Tensor.uniform_: _in_place(_uniform),
    Tensor.normal_: _in_place(_normal),
    Tensor.bernoulli_: _in_place(_bernoulli),
    Tensor.exponential_: _in_place(_exponential),
    Tensor.geometric_: _in_place(_geometric),
    Tensor.cauchy_: _in_place(_cauchy),
    Tensor.log_normal_: _in_place(_log_normal),
    Tensor.random_: _in_place(_random, takes_tensor=True),
}
