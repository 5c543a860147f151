"""A torch function mode for tracing, which replaces batch norm and max pooling by faster forms.

Inductor decomposes both before a graph pass sees them, in ways that depend on version, dtype and
mode. This mode intercepts the calls in any `forward`, independent of the layer's class.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fnet.compiler.kernels import batch_norm, pool
from fnet.compiler.kernels.derivatives import has_tangent
from fnet.private import is_plain


def tracing_modes(kernels: Literal["auto", "library"]) -> AbstractContextManager[Any]:
    """Return the context in which to trace a function for these kernels.

    It has no effect under `vmap`, under autocast, in nested transforms, on a GPU, on batch norm in
    evaluation mode, and on max pooling in a forward-mode derivative.
    """
    return Tracing() if kernels == "auto" else nullcontext()


class Tracing(TorchFunctionMode):
    """The mode: a function without a replacement is PyTorch's."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return `func(*args, **kwargs)`, computed by the replacement if there is one."""
        own = _OWN.get(func)
        result = own(*args, **(kwargs or {})) if own else NotImplemented
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `functional.batch_norm`."""
    if not _is_alone(input) or not batch_norm.is_worth_it(
        input, running_mean, running_var, weight, bias, training
    ):
        return NotImplemented
    return batch_norm.batch_norm(
        input,
        running_mean,  # type: ignore[arg-type]
        running_var,  # type: ignore[arg-type]
        weight,  # type: ignore[arg-type]
        bias,  # type: ignore[arg-type]
        momentum,
        eps,
    )


def _torch_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """As `torch.batch_norm`."""
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _max_pool2d(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As `functional.max_pool2d`."""
    if _is_alone(input) and input.is_floating_point() and not has_tangent(input):
        return pool.max_pool2d(input, *args, **kwargs)
    return NotImplemented


def _is_alone(x: Tensor) -> bool:
    """Return whether `x` is a batch of images on the CPU, not mapped by `vmap`.

    False under autocast, which only casts the inputs of PyTorch's own operations.
    """
    images = isinstance(x, Tensor) and x.ndim == 4 and x.device.type == "cpu"
    return images and not torch.is_autocast_enabled("cpu") and is_plain(x)


_OWN: dict[Any, Callable[..., Tensor]] = {
    functional.batch_norm: _batch_norm,
    torch.batch_norm: _torch_batch_norm,
    functional.max_pool2d: _max_pool2d,
    torch.max_pool2d: _max_pool2d,
}
