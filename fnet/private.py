"""Every private name of PyTorch that Python uses, why, and what happens without it."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def custom_graph_pass() -> type | None:
    """Return the class of graph passes whose `uuid()` is part of Inductor's cache key.

    It is documented, but lies in a private module. None without it: no kernels of ours.
    """
    try:
        from torch._inductor.custom_graph_pass import CustomGraphPass
    except ImportError:
        return None
    return CustomGraphPass


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return how Inductor decomposes operations, to trace what a graph pass adds.

    Without it: no kernels of ours.
    """
    import torch._inductor.lowering  # noqa: F401 (some of them ask for it)
    from torch._inductor.decomposition import select_decomp_table

    return select_decomp_table()


def make_fx(fn: Callable[..., Any], *inputs: Any) -> torch.fx.GraphModule:
    """Return the ATen graph of `fn(*inputs)`, decomposed for Inductor.

    Traces what a graph pass adds. Without it: no kernels of ours.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(fn, decomposition_table=decompositions())(*inputs)


def inductor_config() -> ModuleType:
    """Return Inductor's options, of which one allows FMA contraction in our C++.

    Without it: no kernels of ours.
    """
    from torch._inductor import config

    return config


def CppCodeCache() -> Any:  # noqa: N802
    """Return what compiles C++ and keeps the result. Without it: no kernels of ours."""
    from torch._inductor.codecache import CppCodeCache

    return CppCodeCache


def is_plain(x: Tensor) -> bool:
    """Say whether `x` is under no transform of `torch.func` but one gradient.

    Asks for functorch's stack of transforms. Without these names: False, no kernels of ours in
    batch norm and max pooling.
    """
    try:
        from torch._C._functorch import TransformType, is_batchedtensor, peek_interpreter_stack
    except ImportError:
        return False
    innermost = peek_interpreter_stack()
    alone = innermost is None or (innermost.level() == 1 and innermost.key() == TransformType.Grad)
    return alone and not is_batchedtensor(x)
