"""Random draws for each sample, a function of the batch's key and the sample's index only."""

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
    # The words of a new key are 64 random bits. This key has no other use, so its words are the
    # result: drawing from it would double the time, which is most of the time of a crop.
    return sample_keys(batch)


def chance(p: float) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to bool `[N]`, true with probability p for each sample.

    Raises:
        ValueError: p is not a probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a probability, from 0 to 1, got {p}")
    return lambda batch: words(batch)[:, 0] < round(p * 2**32)


def uniform(keys: Tensor, ranges: Sequence[tuple[float, float]]) -> tuple[Tensor, ...]:
    """Return one tensor float64 `[N]` for each range (low, high): a number for each key."""
    unit = random.uniform(keys, (len(ranges),)).to(torch.float64)
    columns = zip(ranges, unit.unbind(-1), strict=True)
    return tuple(low + (high - low) * column for (low, high), column in columns)
