"""Reduce on plateau follows torch's scheduler bit for bit, and is pure."""

import math

import pytest
import torch
from graphs import nothing_compiled, traced
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.testing import assert_close

from fnet import optim, tree
from fnet.optim import Plateau, PlateauState

metrics = st.lists(
    st.floats(-2, 2).map(lambda x: round(x, 1)) | st.floats() | st.just(math.nan), max_size=30
)
arguments = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.0, 0.1, 0.3, 0.9999999]),
        "patience": st.integers(0, 3),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 0.003, 0.7]),
        "eps": st.sampled_from([0.0, 1e-8, 0.05]),
    }
)
CASE = {"factor": 0.3, "patience": 1, "cooldown": 1, "min_lr": 0.001}
FALL = [1.0, 0.5, 0.5, 0.5, math.nan, 0.6, 0.1, *[0.2] * 12]


def peers(base_rate: float, values: list[float], **args) -> list[tuple]:
    """Return torch's (rate, best, bad, cooldown) after each metric."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=base_rate)
    scheduler = ReduceLROnPlateau(optimizer, **args)
    states = []
    for value in values:
        scheduler.step(value)
        rate = optimizer.param_groups[0]["lr"]
        bad, cooldown = scheduler.num_bad_epochs, scheduler.cooldown_counter
        states.append((rate, scheduler.best, bad, cooldown))
    return states


def ours(pair: Plateau, values: list) -> tuple[list, list[PlateauState]]:
    """Return (scales, states) after each metric."""
    state, scales, states = pair.init(), [], []
    for value in values:
        scale, state = pair.update(value, state)
        scales.append(scale)
        states.append(state)
    return scales, states


@settings(max_examples=200, deadline=None)
@given(base_rate=st.sampled_from([0.1, 0.3, 1.0]), values=metrics, args=arguments)
@example(base_rate=0.1, values=[math.nan, 1.0, math.nan], args={"patience": 0})
@example(base_rate=0.1, values=[math.inf] * 13, args={})
@example(base_rate=0.1, values=[1.0] * 24, args={})
@example(base_rate=0.1, values=FALL, args=CASE)
def test_follows_torch(base_rate: float, values: list[float], args: dict) -> None:
    scales, states = ours(optim.plateau(base_rate, **args), values)
    theirs = peers(base_rate, values, **args)
    assert [tuple(leaf.item() for leaf in state) for state in states] == theirs
    assert [scale.item() for scale in scales] == [rate / base_rate for rate, *_ in theirs]


def test_the_case_reduces_and_ends_at_the_floor() -> None:
    rates = [state.rate.item() for state in ours(optim.plateau(0.1, **CASE), FALL)[1]]
    assert len(set(rates)) > 3
    assert rates[-1] == 0.001


def test_a_float32_loss_counts_as_its_exact_value() -> None:
    values = [torch.tensor(x) for x in (0.3, 0.3, 0.29999, 0.1)]
    states = ours(optim.plateau(0.1, patience=0), values)[1]
    theirs = peers(0.1, values, patience=0)
    assert [tuple(leaf.item() for leaf in state) for state in states] == theirs


def test_pure_and_layout_preserving() -> None:
    pair = optim.plateau(0.1, **CASE)
    metric, state = torch.tensor(0.5), pair.init()
    before = tree.map(torch.clone, (metric, state))
    first, again = pair.update(metric, state), pair.update(metric, state)
    tree.assert_equal(first, again)
    tree.assert_equal((metric, state), before)
    assert tree.first_layout_difference(first[1], state) is None
    assert (first[0].shape, first[0].dtype) == ((), torch.float64)


def test_vmap_is_a_loop() -> None:
    pair = optim.plateau(0.1, **CASE)
    curves = [FALL, FALL[::-1], [1 / (i + 1) for i in range(len(FALL))]]
    state = tree.map(lambda leaf: leaf.expand(3), pair.init())
    for values in zip(*curves, strict=True):
        scale, state = torch.vmap(pair.update)(torch.tensor(values), state)
    for i, curve in enumerate(curves):
        scales, states = ours(pair, [torch.tensor(x) for x in curve])
        tree.assert_equal(tree.map(lambda leaf, i=i: leaf[i], state), states[-1])
        assert scale[i].equal(scales[-1])


def test_compiles_once() -> None:
    pair = optim.plateau(0.1, **CASE)
    update = traced(pair.update)
    compiled = Plateau(pair.init, update)
    values = [torch.tensor(x) for x in FALL]
    compiled.update(values[0], pair.init())
    with nothing_compiled():
        tree.assert_equal(ours(compiled, values), ours(pair, values))


def test_the_scale_reaches_the_optimizer() -> None:
    params = {"w": torch.zeros(2)}
    tx, pair = optim.sgd(0.1), optim.plateau(0.1, patience=0)
    opt_state, state = tx.init(params), pair.init()
    for loss in (1.0, 1.0):
        scale, state = pair.update(loss, state)
        opt_state = optim.set_hyper(opt_state, "lr_scale", scale)
    updates, _ = tx.update({"w": torch.ones(2)}, opt_state, params)
    assert_close(updates["w"], torch.full((2,), -0.01))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"mode": "best"}, "mode is"),
        ({"threshold_mode": "ratio"}, "threshold_mode is"),
        ({"factor": 1.0}, r"factor is in \[0, 1\)"),
        ({"factor": -0.1}, r"factor is in \[0, 1\)"),
        ({"base_rate": 0.0}, "base_rate is"),
    ],
)
def test_refuses(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optim.plateau(**{"base_rate": 0.1} | args)
