"""Opaque custom operations: the compiler calls them as they are, and does not trace into them.

If the compiler traced into them, random keys, matrix iterations, convolutions, max pooling and
copies of many leaves would run slower, or would take seconds to compile.
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
    """Define the custom operation `fnet::name` and return it. It has no autograd formula.

    The autograd formula of `torch.library.custom_op` does not work under `torch.func.grad`. A
    `torch.autograd.Function` around two of these operations (forward and backward) does.

    Args:
        name: the name without `fnet::`.
        schema: its arguments and results, as `torch.library.define` takes them.
        fake: the fake kernel: returns empty results of the right shapes, dtypes and strides.
        kernel: computes the results, on any device; they must not alias the arguments. None if the
            kernel is registered from C++.
        vmap: `(info, in_dims, *args) -> (results, out_dims)`, as `torch.library.register_vmap`;
            None if the operation is never mapped.
    """
    torch.library.define(f"fnet::{name}", schema)
    if kernel is not None:
        torch.library.impl(f"fnet::{name}", "CompositeExplicitAutograd", kernel)
    torch.library.register_fake(f"fnet::{name}", fake)
    if vmap is not None:
        torch.library.register_vmap(f"fnet::{name}", vmap)
    return getattr(torch.ops.fnet, name).default
