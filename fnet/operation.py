"""Operations that are one library call in a compiled step: the compiler does not look inside.

Some things it makes worse: batch norms and max poolings in training mode on the CPU, random keys,
matrix iterations and copies of many leaves become slower, or take seconds each to compile.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Operation = Callable[..., Any]


def operation(
    name: str, schema: str, *, kernel: Operation, fake: Operation, vmap: Operation
) -> Operation:
    """Return the operation `fnet::name`, which has no gradient of its own.

    `torch.library.custom_op` would give it one, and that refuses `torch.func.grad`: a
    `torch.autograd.Function` around two of these has both.

    Args:
        name: of the operation.
        schema: its arguments and results, as `torch.library.define` takes them.
        kernel: computes it, on any device; its results share no memory with its arguments.
        fake: makes empty results of the right shapes, dtypes and strides.
        vmap: `(info, in_dims, *args) -> (results, out_dims)`, as `torch.library.register_vmap`.
    """
    torch.library.define(f"fnet::{name}", schema)
    torch.library.impl(f"fnet::{name}", "CompositeExplicitAutograd", kernel)
    torch.library.register_fake(f"fnet::{name}", fake)
    torch.library.register_vmap(f"fnet::{name}", vmap)
    return getattr(torch.ops.fnet, name).default


def as_laid_out(value: Tensor, model: Tensor) -> Tensor:
    """Return `value` with the strides of `empty_like(model)`, copied where it has others."""
    same = torch.empty_like(model)
    return value if value.stride() == same.stride() else same.copy_(value)
