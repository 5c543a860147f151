"""Layers in a compiled step on the CPU: when they go their own way, and what a loop computes.

The compiler joins the loops of layers that follow each other and computes what a loop needs within
it, which is quick where that is cheap and the numbers lie in the order of the loop.
"""

import torch
from torch import Tensor, nn

from fnet.operation import is_plain
from fnet.trace import is_compiling


def has_own_way(layer: nn.Module, x: Tensor) -> bool:
    """Say whether a layer, given images `x`, trains in a step that is compiled for the CPU."""
    return layer.training and is_for_cpu(x)


def is_for_cpu(x: Tensor) -> bool:
    """Say whether what is done with images `x` is being compiled for the CPU, for one model."""
    return x.ndim == 4 and is_compiled_for_cpu(x)


def is_compiled_for_cpu(x: Tensor) -> bool:
    """Say whether what is done with `x` is being compiled for the CPU, for one model.

    Not where autocast is on: it knows which of PyTorch's own operations to cast for.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return is_compiling() and is_plain(x)


def in_memory(x: Tensor) -> Tensor:
    """Return `x`, which the compiler computes once instead of anew wherever it is used.

    A view by strides is one of memory: what it views has to lie there.
    """
    return x.as_strided(x.shape, x.stride())
