"""Operations that are one library call in a compiled step: the compiler does not look inside.

Some things it makes worse: random keys, matrix iterations, convolutions, max poolings and copies of
many leaves become slower, or take seconds each to compile.
"""

from collections.abc import Callable
from typing import Any

import torch

Operation = Callable[..., Any]


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
            where C++ does.
        vmap: `(info, in_dims, *args) -> (results, out_dims)`, as `torch.library.register_vmap`;
            None where it is never mapped.
    """
    torch.library.define(f"fnet::{name}", schema)
    if kernel is not None:
        torch.library.impl(f"fnet::{name}", "CompositeExplicitAutograd", kernel)
    torch.library.register_fake(f"fnet::{name}", fake)
    if vmap is not None:
        torch.library.register_vmap(f"fnet::{name}", vmap)
    return getattr(torch.ops.fnet, name).default
