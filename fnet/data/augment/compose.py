"""The type of an augmentation, a function from batch to batch, and the composition of several."""

from collections.abc import Callable
from typing import TypeAlias

from fnet import random
from fnet.data.batches import Batch

Augment: TypeAlias = Callable[[Batch], Batch]


def compose(*augments: Augment) -> Augment:
    """Return the augmentation that applies these in order, each with its own key.

    Two equal augmentations draw independently, and replacing one does not change the draws of the
    others. `compose()` is the identity. The batch is returned with its original key.

    >>> from fnet.data import random_crop, random_flip
    >>> augment = compose(random_crop(4), random_flip())
    """

    def augment(batch: Batch) -> Batch:
        if not augments:
            return batch
        keys = random.split(batch.key, len(augments))
        changed = batch
        for place, part in enumerate(augments):
            changed = part(changed._replace(key=keys[place]))
        return changed._replace(key=batch.key)

    return augment
