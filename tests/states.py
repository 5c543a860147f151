"""Training states of every kind that a checkpoint can hold, to draw from."""

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from fnet import tree
from fnet.run.checkpoint.format import DTYPES

LAYOUTS = ("contiguous", "transposed", "sliced", "channels last", "expanded")


class Pair(NamedTuple):
    first: Any
    second: Any


def noise(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return a tensor of random bytes, NaNs of every kind among them."""
    generator = torch.Generator().manual_seed(seed)
    count = math.prod(shape) * dtype.itemsize
    high = 2 if dtype == torch.bool else 256
    if not count:
        return torch.empty(shape, dtype=dtype)
    raw = torch.randint(high, (count,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape)


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """Return a tensor with that layout, where it has dimensions enough."""
    if layout == "transposed" and tensor.ndim >= 2:
        return tensor.transpose(0, -1)
    if layout == "sliced" and tensor.ndim:
        return tensor[..., ::2]
    if layout == "channels last" and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "expanded":
        return tensor.expand(3, *tensor.shape)
    return tensor


def assert_same(a: tree.Tree, b: tree.Tree) -> None:
    """Raise an AssertionError unless two states are the same to the last bit, in one structure."""

    def compare(path: str, x: Tensor, y: Tensor) -> None:
        assert (x.shape, x.dtype) == (y.shape, y.dtype), path
        assert torch.equal(_bytes(x), _bytes(y)), path

    assert type(a) is type(b)
    tree.map_with_path(compare, a, b)


def has_distinct_paths(state: tree.Tree) -> bool:
    """Say whether no two leaves have one path, as in {"a/b": ..., "a": {"b": ...}}."""
    paths = [path for path, _ in tree.flatten_with_path(state)]
    return len(set(paths)) == len(paths)


def _bytes(tensor: Tensor) -> Tensor:
    # A copy: torch views no stride but 1 as bytes, not even that of a single element.
    compact = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return compact.reshape(-1).view(torch.uint8)


tensors = st.builds(
    lambda dtype, shape, seed, layout: laid_out(noise(dtype, shape, seed), layout),
    # torch neither fills nor prints float4
    st.sampled_from([dtype for dtype in DTYPES if dtype != torch.float4_e2m1fn_x2]),
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
    st.integers(0, 99),
    st.sampled_from(LAYOUTS),
)
names = st.text(max_size=4) | st.sampled_from(
    ["conv1.weight", "fc.bias", "a/b", "/", "..", "../..", "größe", "\0", "\ud800", "0"]
)


def nested(names, tensors):
    """Return the strategy of trees of these tensors, with these names in their dicts."""
    return st.recursive(
        st.none() | tensors,
        lambda inner: st.one_of(
            st.dictionaries(names, inner, max_size=3),
            st.dictionaries(names, inner, max_size=3).map(OrderedDict),
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.builds(Pair, inner, inner),
        ),
        max_leaves=8,
    )


states = nested(names, tensors).filter(has_distinct_paths)
