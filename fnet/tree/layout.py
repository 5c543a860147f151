"""Restoration of strides: elementwise operations change them for dimensions of size 1."""

from torch import Tensor

from fnet.tree.ravel import memory_order


def laid_out_like(value: Tensor, like: Tensor) -> Tensor:
    """Return `value` with the strides of `like`, which must have the same shape.

    The stride of a dimension of size 1 addresses nothing, so each operation may choose any: a 1 x 1
    or depthwise weight in channels-last format comes out with other strides than it went in with.
    The result is a view if only such strides differ, else a copy. If `like` is not dense (it has
    gaps or overlaps), the result is contiguous.

    >>> import torch
    >>> weight = torch.ones(4, 3, 1, 1).to(memory_format=torch.channels_last)
    >>> weight.stride(), torch.ones(4, 3, 1, 1).stride()
    ((3, 1, 3, 3), (3, 1, 1, 1))
    >>> laid_out_like(torch.ones(4, 3, 1, 1), weight).stride()
    (3, 1, 3, 3)
    """
    size, strides = value.shape, like.stride()
    if value.stride() == strides:
        return value
    order = memory_order(like)
    if any(n > 1 and a != b for n, a, b in zip(size, value.stride(), strides, strict=True)):
        back = [order.index(dim) for dim in range(value.ndim)]
        value = value.permute(order).contiguous().permute(back)
    expected = 1
    for dim in reversed(order):
        if size[dim] > 1:
            if strides[dim] != expected:
                return value
            expected *= size[dim]
    return value if value.stride() == strides else value.as_strided(size, strides)
