"""An augmentation is a function from batch to batch; several applied in turn are one more."""

from collections.abc import Callable
from typing import TypeAlias

from fnet import random
from fnet.data.batches import Batch

Augment: TypeAlias = Callable[[Batch], Batch]


def compose(*augments: Augment) -> Augment:
    """Return the augmentation that applies these in turn, each with a key of its own.

    Two that are the same draw independently, and changing one leaves the draws of the others as
    they were. `compose()` changes nothing. The batch comes back with the key it had.

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
