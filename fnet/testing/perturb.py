"""Perturbation of the tensors that a function can reach, to find out whether it reads them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from fnet import tree
from fnet.testing.reach import Place, reach
from fnet.testing.watch import has_data
from fnet.tree import Tree


def mutable_tensors(fn: Callable[..., Tree], constants: Tree, args: Tree) -> list[Place]:
    """Return the places of the tensors and writable arrays that `fn` can reach and that may change.

    Tensors within fnet and installed packages, in `constants` and in `args` are excluded.
    """
    known = {id(leaf) for leaf in tree.leaves((constants, args))}

    def may_change(place: Place) -> bool:
        value = place.value
        if not place.own or id(value) in known:
            return False
        if isinstance(value, np.ndarray):
            return value.size > 0 and value.flags.writeable and value.dtype.kind in "biufc"
        return isinstance(value, Tensor) and has_data(value) and value.numel() > 0

    return [place for place in reach(fn).places if may_change(place)]


def first_read(places: Sequence[Place], is_changed: Callable[[], bool]) -> Place | None:
    """Return the first place that a function reads, or None.

    Args:
        places: places of tensors and arrays.
        is_changed: calls the function, and returns whether its result differs.
    """
    if not places:
        return None
    with perturbed(places):
        if not is_changed():
            return None
    for place in places:
        with perturbed([place]):
            if is_changed():
                return place
    return places[0]  # some are read, but the result only changes if several of them change


@contextmanager
def perturbed(places: Sequence[Place]) -> Iterator[None]:
    """Change the values of tensors and arrays, and restore them bit for bit at the end.

    Integers and booleans get values that occur in the tensor, if possible, so that indices stay
    valid.
    """
    data = [_storage(place.value) for place in places]
    before = [tensor.clone() for tensor in data]
    try:
        for tensor in data:
            tensor.copy_(_other(tensor))
        yield
    finally:
        for tensor, old in zip(data, before, strict=True):
            tensor.copy_(old)


def _storage(value: Tensor | np.ndarray) -> Tensor:
    """Return the values as a tensor without expanded dimensions, detached from autograd."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    dims = zip(value.stride(), value.shape, strict=True)
    return value.data[tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in dims)]


def _other(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point() or tensor.is_complex():
        return 1.5 * tensor.nan_to_num() + 0.25
    flat = tensor.reshape(-1)
    rolled = flat.roll(1).reshape(tensor.shape)
    if not torch.equal(rolled, tensor):
        return rolled
    if tensor.dtype == torch.bool:
        return ~tensor
    return torch.where(tensor > 0, tensor - 1, tensor + 1)
