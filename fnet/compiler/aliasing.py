"""Memory of tensors: which of them overlap, and whether their memory has their values."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


def extent(x: Tensor) -> int:
    """Return the number of bytes from the first element to the end of the last one.

    >>> import torch
    >>> extent(torch.zeros(4, 6)[:, :2])
    80
    """
    if not x.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return (last + 1) * x.element_size()


def may_be_lazy(x: Tensor) -> bool:
    """Return whether a tensor of this layout and dtype may have a conjugate or negative bit.

    A real tensor has a negative bit only if it is part of `z.conj().imag`, where each stride is
    even. So most tensors need no check at each call.

    >>> import torch
    >>> z = torch.ones(2, 1, dtype=torch.complex64)
    >>> may_be_lazy(z), may_be_lazy(z.conj().imag), may_be_lazy(z.real.contiguous())
    (True, True, False)
    """
    even = all(size < 2 or not stride % 2 for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.is_complex() or (x.is_floating_point() and even)


def require_plain(x: Tensor, which: str = "among the arguments") -> None:
    """Raise a TypeError if the memory of a tensor does not hold its values, in strides."""
    if x.layout != torch.strided:
        raise TypeError(
            f"a compiled function takes dense tensors; a tensor {which} has the layout {x.layout}: "
            "use its parts, x.indices() and x.values(), or x.to_dense()"
        )
    if x.is_neg() or x.is_conj():
        raise TypeError(
            f"a tensor {which} is a lazy conjugate, or a part of one: its memory holds other "
            "values than it has. Use x.resolve_conj().resolve_neg()"
        )


def overlaps(tensors: Sequence[Tensor], extents: Sequence[int]) -> Hashable:
    """Return each pair of overlapping tensors with their distance in bytes; usually ().

    It runs at each call of a compiled function, so the usual case is only a sort and a loop.

    Args:
        tensors: any tensors.
        extents: `extent` of each.

    >>> import torch
    >>> x = torch.zeros(6)
    >>> whole, first, rest = x, x[:3], x[3:]
    >>> overlaps([first, rest], [12, 12])
    ()
    >>> overlaps([whole, rest], [24, 12])
    ((0, 1, 12),)
    """
    pointers = list(map(Tensor.data_ptr, tensors))
    end = 0
    for start, size in sorted(zip(pointers, extents, strict=True)):
        if start < end and size:
            return _pairs(pointers, extents)
        if size and start:
            end = start + size
    return ()


def _pairs(pointers: Sequence[int], extents: Sequence[int]) -> Hashable:
    places = sorted((start, n) for n, start in enumerate(pointers) if start and extents[n])
    pairs = []
    for n, (start, first) in enumerate(places):
        for other, second in places[n + 1 :]:
            if other >= start + extents[first]:
                break
            pairs.append((first, second, other - start))
    return tuple(sorted(pairs))
