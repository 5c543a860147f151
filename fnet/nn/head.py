"""The head of a network: its last layer, which has one output for each class."""

from fnet.nn.check import network_of
from fnet.nn.model import Model


def trainable_names(model: Model) -> tuple[str, ...]:
    """Return the names of the trainable parameters, in the order of the module's layers."""
    return network_of(model).leaves.trainable


def head(model: Model) -> tuple[str, ...]:
    """Return the names of the parameters of the last layer that has any: a classifier's head.

    The last layer is the one that the module registers last.

    >>> from fnet import models
    >>> head(models.dainet7())
    ('26.weight', '26.bias')
    """
    names = trainable_names(model)
    layer = names[-1].rpartition(".")[0] if names else ""
    return tuple(name for name in names if name.rpartition(".")[0] == layer)
