"""Lookahead: after several fast steps, the params go back part of the way to the slow params."""

from typing import NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, State, apply_updates
from fnet.optim.hyper import Hyper, Hypers, HyperState
from fnet.tree import Tree


class LookaheadState(NamedTuple):
    """The state of `lookahead`.

    hyper: the hyper-parameter `slow_step_size`.
    slow: the slow params, a tree like the params.
    fast: the state of the fast optimizer.
    """

    hyper: HyperState
    slow: Tree
    fast: State


def lookahead(
    fast_optimizer: GradientTransformation, sync_period: int = 5, slow_step_size: Hyper = 0.5
) -> GradientTransformation:
    """Return the Lookahead optimizer around a fast optimizer.

    After every `sync_period` updates, `slow = slow + slow_step_size * (params - slow)`, and the
    params are set to `slow`. Hyper-parameter: `slow_step_size`. Zhang et al., "Lookahead
    Optimizer", 2019, with its defaults of 5 and 0.5. As `optax.lookahead`, with two differences:
    the slow params are in the state (optax uses pairs of params), so the signature of a step stays
    the same; and the state of the fast optimizer is never reset.

    Args:
        fast_optimizer: a complete optimizer. Lookahead must be outermost, around the whole chain.
        sync_period: the number of updates between two synchronisations, at least 1.
        slow_step_size: the step size of the slow params, from 0 to 1.

    Raises:
        ValueError: `sync_period` is below 1.

    >>> from fnet import optim
    >>> tx = lookahead(optim.sgd(1.0), sync_period=2)
    >>> params, state = {"w": torch.tensor(8.0)}, tx.init({"w": torch.tensor(8.0)})
    >>> for _ in range(2):
    ...     updates, state = tx.update({"w": torch.tensor(2.0)}, state, params)
    ...     params = optim.apply_updates(params, updates)
    ...     print(params["w"].item())
    6.0
    6.0
    """
    if sync_period < 1:
        raise ValueError(f"sync_period is a number of updates, at least 1; got {sync_period}")
    hyper = Hypers(slow_step_size=slow_step_size)

    def init(params: Tree) -> LookaheadState:
        slow = tree.map(torch.clone, params)
        return LookaheadState(hyper.init(params), slow, fast_optimizer.init(params))

    def update(grads: Tree, state: LookaheadState, params: Tree) -> tuple[Tree, LookaheadState]:
        values, hyper_state = hyper.advance(state.hyper)
        size, back = values["slow_step_size"], hyper_state.count % sync_period == 0
        updates, fast = fast_optimizer.update(grads, state.fast, params)

        def step(slow: Tensor, param: Tensor) -> Tensor:
            return torch.where(back, slow + size.to(slow) * (param - slow), slow)

        def go_back(update: Tensor, slow: Tensor, param: Tensor) -> Tensor:
            return torch.where(back, (slow - param).to(update.dtype), update)

        slow = tree.map(step, state.slow, apply_updates(params, updates))
        return tree.map(go_back, updates, slow, params), LookaheadState(hyper_state, slow, fast)

    return GradientTransformation(init, update)
