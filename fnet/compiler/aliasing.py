"""Aliasing of tensors: a hashable key that says which of them overlap in memory."""

from collections.abc import Hashable, Sequence

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
