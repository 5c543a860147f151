"""The learning rate that a run logs, and its scale, read and changed in an optimizer's state.

Each function takes the name of the learning rate in `get_hyper`, or None: then the first learning
rate is read, and all are scaled.
"""

from torch import Tensor

from fnet.optim import get_hyper, hypers, set_hyper
from fnet.tree import Tree


def effective_rate(opt_state: Tree, name: str | None = None) -> float:
    """Return the learning rate of the last update, multiplied by its scale.

    Raises:
        ValueError: the optimizer has no such learning rate, or no scale for it.
    """
    return float(rate(opt_state, name))


def rate(opt_state: Tree, name: str | None = None) -> Tensor:
    """Return `effective_rate` as a tensor, float64 0-d.

    Raises:
        ValueError: as `effective_rate`.
    """
    first = _rates(opt_state, name)[0]
    return get_hyper(opt_state, first) * get_hyper(opt_state, _scale_of(first))


def with_lr_scale(opt_state: Tree, scale: Tensor, name: str | None = None) -> Tree:
    """Return the optimizer state with this scale of the learning rate.

    Raises:
        ValueError: as for `effective_rate`.
    """
    for each in _rates(opt_state, name):
        opt_state = set_hyper(opt_state, _scale_of(each), scale)
    return opt_state


def _rates(opt_state: Tree, name: str | None) -> list[str]:
    """Return the names of the learning rates, the one to log first."""
    if name is not None:
        return [name]
    names = hypers(opt_state)
    rates = [each for each in names if each.rpartition("/")[2] == "learning_rate"]
    if not rates:
        raise ValueError(
            "the optimizer has no 'learning_rate' to log, only "
            f"{', '.join(names) or 'no hyper-parameters'}: end its chain with "
            "scale_by_learning_rate, or give one of these names as the experiment's "
            "learning_rate"
        )
    return rates


def _scale_of(learning_rate: str) -> str:
    """Return the name of the scale that belongs to a learning rate.

    >>> _scale_of("muon/learning_rate")
    'muon/lr_scale'
    """
    group, slash, _ = learning_rate.rpartition("/")
    return f"{group}{slash}lr_scale"
