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
    """Return the transformation whose updates are a moving average of its input updates.

    `ema = decay * ema + (1 - decay) * grad` starts at 0; with `debias` the updates are
    bias-corrected: `ema / (1 - decay**count)`. Hyper-parameter: `decay`. As `optax.ema`. Compare
    `trace`, which adds the whole gradient, not `1 - decay` of it, and `ema_params`, which averages
    the weights.

    Raises:
        ValueError: `decay` is 1 or more.
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
