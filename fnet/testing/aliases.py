"""Detection of results that alias arguments (share memory with them)."""

from torch import Tensor

from fnet import tree
from fnet.testing.watch import has_data
from fnet.tree import Tree


def first_alias(results: Tree, arguments: Tree) -> str | None:
    """Return a phrase that names the first result that shares memory with an argument, or None.

    An argument that is returned unchanged (same memory, shape, strides and dtype) is allowed.

    >>> import torch
    >>> x = torch.arange(4.0)
    >>> first_alias({"y": x}, {"x": x})
    >>> first_alias({"y": x[1:]}, {"x": x})
    "'y', which shares memory with its argument 'x': return a copy"
    """
    found = [(path, leaf) for path, leaf in tree.flatten_with_path(arguments) if _has_memory(leaf)]
    for path, result in tree.flatten_with_path(results):
        if not _has_memory(result) or any(_is_same(result, leaf) for _, leaf in found):
            continue
        for other, leaf in found:
            if _overlap(result, leaf):
                return f"{path!r}, which shares memory with its argument {other!r}: return a copy"
    return None


def _has_memory(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and has_data(leaf) and leaf.numel() > 0


def _is_same(a: Tensor, b: Tensor) -> bool:
    geometry = [(x.data_ptr(), x.shape, x.stride(), x.dtype, x.device) for x in (a, b)]
    return geometry[0] == geometry[1]


def _overlap(a: Tensor, b: Tensor) -> bool:
    if a.device != b.device:
        return False
    (first, end), (other, other_end) = _span(a), _span(b)
    return first < other_end and other < end


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the address of a tensor's first byte, and the address after its last byte."""
    dims = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in dims)
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()
