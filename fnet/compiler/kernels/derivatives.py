"""Higher derivatives of kernels: those of a reference in PyTorch's operations."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Result = Tensor | tuple[Tensor, ...]


def differentiated(
    kernel: Callable[..., Result],
    reference: Callable[..., Result],
    inputs: Sequence[Tensor],
    saved: Sequence[Tensor],
) -> Any:
    """Return `kernel(*inputs, *saved)`, with the derivatives of `reference(*inputs)`.

    A second derivative differentiates a backward. Autograd must not do so with a backward that is a
    kernel: an opaque operation has no derivative, and the saved values, such as a mean, depend on
    the inputs. So the reference computes the same result from the inputs only, by PyTorch's
    operations. It only runs if its derivative is needed: a first derivative costs nothing more.
    """
    count = len(inputs)

    class Kernel(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*tensors: Tensor) -> Result:
            return kernel(*tensors)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Result) -> None:
            ctx.save_for_backward(*inputs[:count])
            ctx.save_for_forward(*inputs[:count])

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            linear: Any = torch.func.vjp(reference, *ctx.saved_tensors)
            result, pullback = linear
            of_inputs = pullback(grads[0] if isinstance(result, Tensor) else grads)
            return *of_inputs, *([None] * len(saved))

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
            primals = ctx.saved_tensors
            pairs = zip(primals, tangents[:count], strict=True)
            known = tuple(torch.zeros_like(x) if t is None else t for x, t in pairs)
            # The transpose of the transpose: PyTorch does not nest forward-mode derivatives.
            linear: Any = torch.func.vjp(reference, *primals)
            result, pullback = linear
            return torch.func.vjp(pullback, result)[1](known)[0]

    return Kernel.apply(*inputs, *saved)


def has_tangent(x: Tensor) -> bool:
    """Return whether `x` is a dual tensor of `torch.autograd.forward_ad`."""
    return forward_ad.unpack_dual(x).tangent is not None
