"""An exponential moving average of the updates."""

from typing import NamedTuple

from fnet import tree
from fnet.optim.base import GradientTransformation
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.optim.moments import average, zeros_like
from fnet.tree import Tree


class EmaState(NamedTuple):
    """The average of the updates: a tree like the params."""

    hyper: HyperState
    ema: Tree


def ema(decay: Hyper, debias: bool = True) -> GradientTransformation:
    """Return the transformation whose updates are an average of those that came in.

    `ema = decay * ema + (1 - decay) * grad` starts at 0; with `debias` the updates are
    `ema / (1 - decay**count)`, which corrects for it. Hyper-parameter: `decay`. As `optax.ema`.
    `trace` adds the whole gradient instead of a part of it; the average of the weights is
    `ema_params`.

    Raises:
        ValueError: for a `decay` of 1 or more.
    """
    hyper = Hypers(decay=decay)
    require_decays(decay=decay)

    def init(params: Tree) -> EmaState:
        return EmaState(hyper.init(params), zeros_like(params))

    def update(grads: Tree, state: EmaState, params: Tree) -> tuple[Tree, EmaState]:
        values, hyper_state = hyper.advance(state.hyper)
        mean = average(values["decay"], state.ema, grads)
        if not debias:
            return mean, EmaState(hyper_state, mean)
        correct = 1 / (1 - values["decay"] ** hyper_state.count)
        updates = tree.map(lambda m: correct.to(m) * m, mean)
        return updates, EmaState(hyper_state, mean)

    return GradientTransformation(init, update)
