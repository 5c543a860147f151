"""Averages of the weights (EMA and SWA), kept in the optimizer's state."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fnet import tree
from fnet.optim.base import GradientTransformation, State, apply_updates
from fnet.optim.hyper import Hyper, Hypers, HyperState, require_decays
from fnet.tree import Tree


class AverageState(NamedTuple):
    """The average of the params so far (`average`), with the structure of the params."""

    hyper: HyperState
    average: Tree


def ema_params(decay: Hyper = 0.999, start: int = 1) -> GradientTransformation:
    """Return the transformation that keeps an exponential moving average of the params.

    `average = decay * average + (1 - decay) * params`, with the params after each update, beginning
    with update number `start`; until then the average equals the params. The updates pass through
    unchanged. As `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`.
    Hyper-parameter: `decay`.

    Put it last in the outermost chain, where the updates are those that `apply_updates` adds; in
    a `flatten` or a `partition` the average would not have the structure of the params. The running
    statistics of batch norm belong to the trained params, not to their average: recompute them for
    the averaged params if this matters.

    Args:
        decay: the share of the old average in the new one, in [0, 1).
        start: the number of the first update whose params are averaged, counted from 1.

    Raises:
        ValueError: `decay` is 1 or more, or `start` is below 1.

    >>> from fnet import optim
    >>> tx = optim.chain(optim.sgd(1.0), optim.ema_params(0.75))
    >>> params, state = {"w": torch.tensor(8.0)}, tx.init({"w": torch.tensor(8.0)})
    >>> for _ in range(2):
    ...     updates, state = tx.update({"w": torch.tensor(4.0)}, state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> params, optim.averaged_params(state, params)
    ({'w': tensor(0.)}, {'w': tensor(3.)})
    """
    hyper = Hypers(decay=decay)
    require_decays(decay=decay)
    return _keep_average(hyper, start, lambda values, done: 1 - values["decay"])


def swa_params(start: int = 1, every: int = 1) -> GradientTransformation:
    """Return the transformation that keeps the mean of the params: stochastic weight averaging.

    It is the mean, with equal weights, of the params after update number `start` and then after
    every `every` updates; until then the average equals the params. The updates pass through
    unchanged. As `torch.optim.swa_utils.AveragedModel` (Izmailov et al., 2018). Put it at the same
    place as `ema_params`.

    Args:
        start: the number of the first update whose params are averaged, counted from 1.
        every: the number of updates between two averaged params; give the steps per epoch to
            average the params at the ends of epochs.

    Raises:
        ValueError: `start` or `every` is below 1.

    >>> from fnet import optim
    >>> last_three = optim.swa_params(start=4 * 390, every=390)  # of six epochs of 390 steps
    """
    if every < 1:
        raise ValueError(f"every is a number of updates, at least 1; got {every}")

    def gain(values: dict[str, Tensor], done: Tensor) -> Tensor:
        passed = (done - start).clamp(min=0)
        taken = (passed // every + 1).to(torch.float64)
        return torch.where(passed % every == 0, 1 / taken, 0.0)

    return _keep_average(Hypers(), start, gain)


def averaged_params(opt_state: State, like: Tree) -> Tree:
    """Return the averaged weights in an optimizer state.

    A recipe evaluates them with `eval_params=lambda params, state: params._replace(
    trainable=optim.averaged_params(state, params.trainable))`.

    Args:
        opt_state: the state of a chain that ends with `ema_params` or `swa_params`.
        like: the params.

    Raises:
        ValueError: the state holds no average, or several, or one that is not like the params.
    """
    found = list(_averages(opt_state))
    if len(found) != 1:
        raise ValueError(
            f"this optimizer state holds {len(found) or 'no'} averages of weights, expected 1: "
            "end the outermost chain with one ema_params or swa_params"
        )
    difference = tree.first_layout_difference(found[0], like)
    if difference is not None:
        raise ValueError(
            f"the averages of weights are not like the params ({difference}): pass the params that "
            "were given to init, and put ema_params last in the outermost chain, not in a flatten "
            "or a partition"
        )
    return found[0]


def _keep_average(
    hyper: Hypers, start: int, gain: Callable[[dict[str, Tensor], Tensor], Tensor]
) -> GradientTransformation:
    """Return the transformation that updates `average += share * (params - average)`.

    `gain(values of the hyper-parameters, number of updates) -> share`, float64 0-d.
    """
    if start < 1:
        raise ValueError(f"start is the number of an update, counted from 1; got {start}")

    def init(params: Tree) -> AverageState:
        # Copies, because a donated state must not alias the donated params.
        return AverageState(hyper.init(params), tree.map(torch.clone, params))

    def update(grads: Tree, state: AverageState, params: Tree) -> tuple[Tree, AverageState]:
        values, hyper_state = hyper.advance(state.hyper)
        begun, share = hyper_state.count > start, gain(values, hyper_state.count)

        def move(old: Tensor, new: Tensor) -> Tensor:
            old = torch.where(begun, old, new)
            return old + share.to(old) * (new - old)

        moved = tree.map(move, state.average, apply_updates(params, grads))
        return grads, AverageState(hyper_state, moved)

    return GradientTransformation(init, update)


def _averages(state: Any) -> Iterator[Tree]:
    """Yield all averages in a nested state."""
    if isinstance(state, AverageState):
        yield state.average
    elif isinstance(state, tuple | dict):
        for inner in state.values() if isinstance(state, dict) else state:
            yield from _averages(inner)
