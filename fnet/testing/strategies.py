"""Hypothesis strategies for the arguments of a step: keys, batches, parameters, trees of tensors.

It needs hypothesis: `pip install "fnet[test]"`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fnet import random
from fnet.data import Batch
from fnet.nn import Model, Params
from fnet.tree import Tree

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'fnet.testing.strategies needs hypothesis: pip install "fnet[test]"', name="hypothesis"
    ) from error


def keys() -> st.SearchStrategy[Tensor]:
    """Return the strategy of keys, int64 `[2]`.

    >>> keys().example().shape  # doctest: +SKIP
    torch.Size([2])
    """
    return st.integers(0, 2**64 - 1).map(random.key)


def batches(
    size: int = 8,
    shape: Sequence[int] = (3, 8, 8),
    classes: int = 5,
    *,
    padding: bool = False,
) -> st.SearchStrategy[Batch]:
    """Return the strategy of batches of random uint8 images, channels last, with labels and key.

    Args:
        size: the batch size.
        shape: the shape of one image, `[C, H, W]`.
        classes: the number of classes.
        padding: some of the last rows may have weight 0, but not all.
    """
    real = st.integers(1, size) if padding else st.just(size)
    return st.builds(lambda key, real: _batch(key, real, size, shape, classes), keys(), real)


def params(model: Model) -> st.SearchStrategy[Params]:
    """Return the strategy of a model's parameters: the results of its `init` for random keys."""
    return keys().map(model.init)


def trees(
    count: int = 1, dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64)
) -> st.SearchStrategy[Any]:
    """Return the strategy of trees of normal numbers: dicts, tuples, None; some channels-last.

    Args:
        count: if 2 or more, tuples of this many trees that only differ in their values, such as
            params and gradients.
        dtypes: all leaves of a tree have one of these dtypes.
    """
    shape = st.lists(st.integers(1, 4), max_size=2).map(tuple) | st.sampled_from(
        [(4, 3, 3, 3), (2, 3, 1, 2), (5, 1, 3, 3)]
    )
    shapes = st.dictionaries(st.sampled_from("abcde"), shape, min_size=1, max_size=3)

    def alike(shapes: dict[str, Any], dtype: torch.dtype, last: bool, seed: int) -> Any:
        made = tuple(_tree(shapes, dtype, last, seed * 10 + n) for n in range(count))
        return made[0] if count == 1 else made

    return st.builds(
        alike, shapes, st.sampled_from(list(dtypes)), st.booleans(), st.integers(0, 2**16)
    )


def _batch(key: Tensor, real: int, size: int, shape: Sequence[int], classes: int) -> Batch:
    images, labels, own = random.split(key, 3)
    channels, height, width = shape
    pixels = random.randint(images, (size, height, width, channels), 0, 256).to(torch.uint8)
    return Batch(
        images=pixels.permute(0, 3, 1, 2),
        labels=random.randint(labels, (size,), 0, classes),
        key=own,
        index=torch.arange(size),
        weight=(torch.arange(size) < real).to(torch.float32),
        epoch=torch.zeros((), dtype=torch.float64),
    )


def _tree(shapes: dict[str, Any], dtype: torch.dtype, last: bool, seed: int) -> Tree:
    generator = torch.Generator().manual_seed(seed)

    def leaf(shape: Sequence[int]) -> Tensor:
        values = torch.randn(tuple(shape), generator=generator, dtype=dtype)
        four = last and values.ndim == 4
        return values.contiguous(memory_format=torch.channels_last) if four else values

    leaves = {name: leaf(shape) for name, shape in shapes.items()}
    return {"layer": (leaves,), "z.bias": leaf((3,)), "none": None}
