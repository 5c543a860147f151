"""The choice of kernels: rules that replace nodes of an ATen graph.

A rule gets a node, whose arguments have fake tensors in `meta["val"]`. It returns a function with
the same arguments and results as the node, or None if the library is as fast.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from fnet.compiler.kernels import direct, linear, pool, winograd

Rule = Callable[[Node], Callable[..., Any] | None]


def _convolution(node: Node) -> Callable[..., Tensor] | None:
    args: Any = node.args
    x, weight, bias, stride, padding, *others = args
    own = _kernel(x, weight, stride, padding, *others)
    if own is None or (bias is not None and _val(bias).dtype != _val(x).dtype):
        return None
    return lambda x, weight, bias, *_: own.convolution(x, weight, bias, padding)


def _convolution_backward(node: Node) -> Callable[..., tuple[Tensor | None, ...]] | None:
    args: Any = node.args
    _, x, weight, _, stride, padding, *others, mask = args
    own = _kernel(x, weight, stride, padding, *others)
    if own is None:
        return None

    def backward(grad: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        gradients = own.backward(grad, x, weight, padding)
        return tuple(leaf if asked else None for leaf, asked in zip(gradients, mask, strict=True))

    return backward


def _kernel(
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: Any,
    output_padding: Any,
    groups: Any,
) -> ModuleType | None:
    """Return the module whose `convolution` and `backward` are fastest; None: the library's are."""
    images, windows = _val(x), _val(weight)
    plain = [*stride] == [*dilation] == [1, 1] and groups == 1 and not transposed
    if not plain or images.ndim != 4 or images.device.type != "cpu":
        return None
    for own in (direct, winograd):
        if own.is_worth_it(images, windows, padding):
            return own
    return None


def _mm(node: Node) -> Callable[..., Tensor] | None:
    """The rule for weight gradients: products of a transposed matrix `[outputs, rows]` and x."""
    args: Any = node.args
    transposed, x = args
    is_gradient = transposed.target in _TRANSPOSE and x.target not in _TRANSPOSE
    if not is_gradient or _val(x).device.type != "cpu":
        return None
    return linear.product if linear.is_worth_it(_val(transposed), _val(x)) else None


def _val(node: Any) -> Tensor:
    return node.meta["val"]


_ATEN = torch.ops.aten
_TRANSPOSE = (_ATEN.permute.default, _ATEN.t.default, _ATEN.transpose.int)
RULES: dict[Any, Rule] = {
    _ATEN.convolution.default: _convolution,
    _ATEN.convolution_backward.default: _convolution_backward,
    _ATEN.mm.default: _mm,
    pool.FORWARD: pool.forward_rule,
    pool.BACKWARD: pool.backward_rule,
}
