"""What each sample draws, from the batch's key and its own place in the data set alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fnet import random
from fnet.data.batches import Batch


def sample_keys(batch: Batch) -> Tensor:
    """Return a key for each sample, `[N, 2]`."""
    return random.fold_in(batch.key, batch.index)


def words(batch: Batch) -> Tensor:
    """Return two random integers in [0, 2^32) for each sample, int64 `[N, 2]`."""
    # The words of a new key are 64 random bits. This key is used for nothing else, so they are
    # taken as they are: drawing from it would double the time, which is most of a crop's.
    return sample_keys(batch)


def chance(p: float) -> Callable[[Batch], Tensor]:
    """Return what draws bool `[N]`, true for a sample with probability p.

    Raises:
        ValueError: p is not a probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1, got {p}")
    return lambda batch: words(batch)[:, 0] < round(p * 2**32)


def uniform(keys: Tensor, ranges: Sequence[tuple[float, float]]) -> tuple[Tensor, ...]:
    """Return for each range (low, high) one number in it for each key, float64 `[N]`."""
    unit = random.uniform(keys, (len(ranges),)).to(torch.float64)
    columns = zip(ranges, unit.unbind(-1), strict=True)
    return tuple(low + (high - low) * column for (low, high), column in columns)
