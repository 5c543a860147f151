"""Averages of weights: equal to torch's AveragedModel, and found in nested states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.testing import assert_close

from fnet import optim, tree


def train(tx: optim.GradientTransformation, steps: int, seed: int = 0) -> tuple[list, list]:
    """Return the params and their average after each of some random steps."""
    generator = torch.Generator().manual_seed(seed)
    params = {"w": torch.randn(3, 2, generator=generator), "b": torch.randn(2, generator=generator)}
    state, seen, averages = tx.init(params), [], []
    for _ in range(steps):
        grads = tree.map(lambda p: torch.randn(p.shape, generator=generator), params)
        updates, state = tx.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        seen.append(params)
        averages.append(optim.averaged_params(state, params))
    return seen, averages


def torchs(seen: list, avg_fn=None) -> dict:
    """Return torch's average of these params, given one after the other."""
    module = nn.Linear(3, 2)
    averaged = AveragedModel(module, avg_fn=avg_fn)
    for params in seen:
        with torch.no_grad():
            module.weight.copy_(params["w"].mT)
            module.bias.copy_(params["b"])
        averaged.update_parameters(module)
    return {"w": averaged.module.weight.detach().mT, "b": averaged.module.bias.detach()}


@settings(max_examples=8, deadline=None)
@given(start=st.integers(1, 12), seed=st.integers(0, 99))
def test_ema_params_follows_torch(start: int, seed: int) -> None:
    tx = optim.chain(optim.sgd(0.1, momentum=0.9), optim.ema_params(0.8, start=start))
    seen, averages = train(tx, 20, seed)
    for done in range(start, 21):
        assert_close(
            averages[done - 1],
            torchs(seen[start - 1 : done], get_ema_avg_fn(0.8)),
            rtol=1e-5,
            atol=1e-6,
        )
    tree.assert_equal(averages[start - 1], seen[start - 1])


@settings(max_examples=8, deadline=None)
@given(start=st.integers(1, 12), every=st.integers(1, 5), seed=st.integers(0, 99))
def test_swa_params_follows_torch(start: int, every: int, seed: int) -> None:
    tx = optim.chain(optim.adam(0.1), optim.swa_params(start, every))
    seen, averages = train(tx, 20, seed)
    for done in range(start, 21):
        taken = seen[start - 1 : done : every]
        assert_close(averages[done - 1], torchs(taken), rtol=1e-5, atol=1e-6)


def test_before_the_start_the_average_is_the_params() -> None:
    for tx in (optim.ema_params(0.9, start=5), optim.swa_params(start=5, every=2)):
        seen, averages = train(optim.chain(optim.sgd(0.1), tx), 4)
        tree.assert_equal(averages, seen)
        first = {"w": torch.randn(2)}
        state = tx.init(first)
        tree.assert_equal(optim.averaged_params(state, first), first)
        assert optim.averaged_params(state, first)["w"].data_ptr() != first["w"].data_ptr()


def test_the_training_is_that_without() -> None:
    plain = optim.sgd(0.1, momentum=0.9)
    with_average, _ = train(optim.chain(plain, optim.ema_params(0.9)), 5)
    twice = optim.chain(plain, optim.identity(), optim.swa_params(2))
    tree.assert_equal(train(twice, 5)[0], with_average)


def test_the_average_is_found_wherever_it_makes_sense_and_asked_for_elsewhere() -> None:
    params = {"w": torch.randn(2, 2), "b": torch.randn(2)}
    inner = optim.chain(optim.sgd(0.1), optim.ema_params())
    state = optim.apply_if_finite(inner).init(params)
    tree.assert_equal(optim.averaged_params(state, params), params)
    with pytest.raises(ValueError, match="holds no averages of weights, expected 1"):
        optim.averaged_params(optim.sgd(0.1).init(params), params)
    both = optim.chain(optim.ema_params(), optim.swa_params()).init(params)
    with pytest.raises(ValueError, match="holds 2 averages"):
        optim.averaged_params(both, params)
    with pytest.raises(ValueError, match="not in a flatten or a partition"):
        optim.averaged_params(optim.flatten(inner).init(params), params)


def test_wrong_arguments_are_refused() -> None:
    for make in (optim.ema_params, optim.swa_params):
        with pytest.raises(ValueError, match="counted from 1; got 0"):
            make(start=0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        optim.swa_params(every=0)
    with pytest.raises(ValueError, match="sync_period is a number of updates"):
        optim.lookahead(optim.sgd(0.1), sync_period=0)
    with pytest.raises(TypeError, match="use scale for a number"):
        optim.scale_by_schedule(0.1)
    with pytest.raises(ValueError, match="step_size is a number; got nan"):
        optim.scale(float("nan"))
    with pytest.raises(ValueError, match="initial_accumulator_value is at least 0"):
        optim.adagrad(initial_accumulator_value=-1.0)


def test_the_average_changes_with_its_decay_between_steps() -> None:
    params, tx = {"w": torch.zeros(1)}, optim.ema_params(0.5)
    _, state = tx.update({"w": torch.ones(1)}, tx.init(params), params)
    state = optim.set_hyper(state, "decay", 0.0)
    _, state = tx.update({"w": torch.full((1,), 3.0)}, state, params)
    assert optim.averaged_params(state, params)["w"].item() == 3.0
