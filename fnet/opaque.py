"""Operations that are one library call in a compiled step: the compiler does not look inside.

Some things it makes worse: random keys, matrix iterations, convolutions, max poolings and copies of
many leaves become slower, or take seconds each to compile.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Operation = Callable[..., Any]
Answer = TypeVar("Answer", bool, int)


def operation(
    name: str,
    schema: str,
    *,
    fake: Operation,
    kernel: Operation | None = None,
    vmap: Operation | None = None,
) -> Operation:
    """Return the operation `fnet::name`, which has no gradient of its own.

    `torch.library.custom_op` would give it one, and that refuses `torch.func.grad`: a
    `torch.autograd.Function` around two of these has both.

    Args:
        name: of the operation.
        schema: its arguments and results, as `torch.library.define` takes them.
        fake: makes empty results of the right shapes, dtypes and strides.
        kernel: computes it, on any device; its results share no memory with its arguments. None
            where C++ does (see `fnet.native.library`).
        vmap: `(info, in_dims, *args) -> (results, out_dims)`, as `torch.library.register_vmap`;
            None where it is never mapped (see `is_plain`).
    """
    torch.library.define(f"fnet::{name}", schema)
    if kernel is not None:
        torch.library.impl(f"fnet::{name}", "CompositeExplicitAutograd", kernel)
    torch.library.register_fake(f"fnet::{name}", fake)
    if vmap is not None:
        torch.library.register_vmap(f"fnet::{name}", vmap)
    return getattr(torch.ops.fnet, name).default


def is_plain(x: Tensor) -> bool:
    """Say whether `x` is under no transform but the gradient of a step.

    A compiler cannot map a `torch.autograd.Function` over many models, and two operations with no
    gradient of their own give no second derivative.
    """
    return _is_plain() and not torch._C._functorch.is_batchedtensor(x)


def constant(fn: Callable[..., Answer]) -> Callable[..., Answer]:
    """Have a user's own `torch.compile` call `fn` while it traces, and not look into it.

    As `torch.compiler.assume_constant_result`, which takes seconds to import Dynamo, without which
    a step is compiled.
    """
    fn._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return fn


@constant
def _is_plain() -> bool:
    innermost = torch._C._functorch.peek_interpreter_stack()
    return innermost is None or (
        innermost.level() == 1 and innermost.key() == torch._C._functorch.TransformType.Grad
    )


def as_laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Return `value` with the strides of `empty_like(like)`, copied where it has others."""
    same = torch.empty_like(like)
    return value if value.stride() == same.stride() else same.copy_(value)
