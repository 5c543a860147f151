"""Hyper-parameters: found by name, replaced, and recorded if they follow a schedule."""

import pytest
import torch
from torch.testing import assert_close

from fnet import optim, tree
from fnet.optim import schedules

PARAMS = {"w": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([3.0])}
GRADS = {"w": torch.tensor([[0.5, 0.5]]), "b": torch.tensor([1.0])}
SPLIT = optim.partition(
    {"decay": optim.sgd(0.1, momentum=0.9, weight_decay=0.1), "no_decay": optim.adam(0.2)},
    lambda path, leaf: "decay" if leaf.ndim > 1 else "no_decay",
)
TWICE = optim.chain(optim.trace(0.5), optim.trace(0.6), optim.scale_by_learning_rate(0.1))


def names(tx: optim.GradientTransformation) -> dict[str, float]:
    return {name: value.item() for name, value in optim.hypers(tx.init(PARAMS)).items()}


def test_names_of_an_optimizer() -> None:
    assert names(optim.adamw(0.1)) == {
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.01,
        "learning_rate": 0.1,
        "lr_scale": 1.0,
    }


def test_labels_are_part_of_the_name() -> None:
    assert names(SPLIT) == {
        "decay/weight_decay": 0.1,
        "decay/momentum": 0.9,
        "decay/dampening": 0.0,
        "decay/learning_rate": 0.1,
        "decay/lr_scale": 1.0,
        "no_decay/weight_decay": 0.0,
        "no_decay/b1": 0.9,
        "no_decay/b2": 0.999,
        "no_decay/eps": 1e-8,
        "no_decay/learning_rate": 0.2,
        "no_decay/lr_scale": 1.0,
    }


def test_places_tell_two_of_a_name_apart() -> None:
    assert names(TWICE) == {
        "0/momentum": 0.5,
        "0/dampening": 0.0,
        "1/momentum": 0.6,
        "1/dampening": 0.0,
        "learning_rate": 0.1,
        "lr_scale": 1.0,
    }


@pytest.mark.parametrize("tx", [optim.adamw(), SPLIT, TWICE, optim.chain(TWICE, SPLIT)])
def test_every_name_listed_gets_and_sets_one(tx: optim.GradientTransformation) -> None:
    state = tx.init(PARAMS)
    for name, value in optim.hypers(state).items():
        assert optim.get_hyper(state, name) is value
        new = optim.set_hyper(state, name, 0.25)
        expected = {**optim.hypers(state), name: torch.tensor(0.25, dtype=torch.float64)}
        assert_close(optim.hypers(new), expected, rtol=0, atol=0)
        assert optim.get_hyper(state, name) is value


def test_a_name_that_fits_none_or_several_is_refused() -> None:
    state = SPLIT.init(PARAMS)
    with pytest.raises(ValueError, match=r"no hyper-parameter called 'lr'; .*decay/learning_rate"):
        optim.get_hyper(state, "lr")
    with pytest.raises(ValueError, match=r"several .* 'learning_rate'; .*no_decay/learning_rate"):
        optim.set_hyper(state, "learning_rate", 0.1)
    with pytest.raises(ValueError, match="no hyper-parameter called 'other/learning_rate'"):
        optim.get_hyper(state, "other/learning_rate")
    assert optim.get_hyper(state, "momentum").item() == 0.9
    with pytest.raises(ValueError, match=r"shape \(\), which a value of shape \(3,\) does not"):
        optim.set_hyper(optim.sgd(0.1).init(PARAMS), "learning_rate", torch.ones(3))


def test_a_value_set_is_used() -> None:
    tx = optim.sgd(0.1, momentum=0.9)
    state = optim.set_hyper(tx.init(PARAMS), "learning_rate", 0.5)
    updates, state = tx.update(GRADS, state, PARAMS)
    assert_close(updates, tree.map(lambda grad: -0.5 * grad, GRADS))
    state = optim.set_hyper(state, "lr_scale", 0.0)
    updates, _ = tx.update(GRADS, state, PARAMS)
    assert_close(updates, tree.map(lambda grad: 0.0 * grad, GRADS))


def test_the_state_records_what_a_schedule_gave() -> None:
    curve = schedules.piecewise(0.1, {1: 0.2, 2: 0.3})
    tx = optim.sgd(curve)
    state = tx.init(PARAMS)
    seen = [optim.get_hyper(state, "learning_rate").item()]
    for rate in (0.1, 0.2, 0.3):
        updates, state = tx.update(GRADS, state, PARAMS)
        assert_close(updates, tree.map(lambda grad, rate=rate: -rate * grad, GRADS))
        seen.append(optim.get_hyper(state, "learning_rate").item())
    assert seen == [0.1, 0.1, 0.2, 0.3]


def test_setting_a_scheduled_value_is_refused() -> None:
    tx = optim.sgd(schedules.constant(0.1))
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=r"follows a schedule.*'lr_scale'"):
        optim.set_hyper(state, "learning_rate", 0.5)
    updates, state = tx.update(GRADS, optim.set_hyper(state, "lr_scale", 0.5), PARAMS)
    assert_close(updates, tree.map(lambda grad: -0.05 * grad, GRADS))


def test_params_that_look_like_a_state_are_no_trouble() -> None:
    params = {"values": {"momentum": torch.ones(2)}, "hyper": (torch.ones(2),)}
    state = optim.set_hyper(optim.sgd(0.1, momentum=0.9).init(params), "momentum", 0.8)
    assert optim.get_hyper(state, "momentum").item() == 0.8


def test_one_value_for_each_of_several_models() -> None:
    tx = optim.sgd(0.1)
    params, grads = (tree.map(lambda x: torch.stack([x, x]), t) for t in (PARAMS, GRADS))
    rates = torch.tensor([0.1, 0.4])
    state = optim.set_hyper(torch.vmap(tx.init)(params), "learning_rate", rates)
    updates, _ = torch.vmap(tx.update)(grads, state, params)
    for i, rate in enumerate(rates):
        one = tree.map(lambda update, i=i: update[i], updates)
        assert_close(one, tree.map(lambda grad, rate=rate: -rate * grad, GRADS))


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_numbers_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="learning_rate is at least 0"):
        optim.sgd(value)


@pytest.mark.parametrize("value", ["0.1", True, None, torch.tensor(0.1)])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="weight_decay is a number or a schedule"):
        optim.adam(weight_decay=value)
