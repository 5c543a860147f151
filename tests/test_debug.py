"""`check_finite`: it ignores numbers that never were finite, and names those that no longer are."""

import pytest
import torch

from fnet import optim
from fnet.debug import NonFiniteError, check_finite
from fnet.nn import Params

START = Params(
    {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(4)}, {"bn.mean": torch.zeros(3)}
)
METRICS = {"loss": torch.tensor(0.5), "count": torch.tensor(8.0)}


def replaced(leaf, *values):
    """Return the leaf with its first elements replaced by these values."""
    return torch.cat([torch.tensor(values), leaf.flatten()[len(values) :]]).view(leaf.shape)


def step_to(params=START, opt_state=None, metrics=METRICS):
    """Return a step with this result, for any arguments."""
    return lambda *_: (params, opt_state, metrics)


def test_a_finite_step_is_the_step():
    tx = optim.adam(0.1)
    state = tx.init(START.trainable)
    result = (START, state, METRICS)
    assert check_finite(lambda *_: result)(START, state, None) is result


@pytest.mark.parametrize(
    ("params", "metrics", "message"),
    [
        (
            {"conv1.weight": (torch.nan, torch.inf, -torch.inf)},
            METRICS,
            r"^params/trainable/conv1\.weight has 1 NaN and 2 inf in 6 values$",
        ),
        ({"fc.bias": (torch.inf,)}, METRICS, r"^params/trainable/fc\.bias has 1 inf in 4 values$"),
        (
            {"fc.bias": (torch.nan,)},
            {"loss": torch.tensor(torch.nan)},
            r"fc\.bias has 1 NaN in 4 values, the first of 2 such leaves$",
        ),
        ({}, METRICS | {"loss": torch.tensor(torch.nan)}, r"^metrics/loss has 1 NaN in 1 values$"),
    ],
)
def test_the_first_leaf_is_named(params, metrics, message):
    trainable = {
        name: replaced(leaf, *params.get(name, ())) for name, leaf in START.trainable.items()
    }
    step = check_finite(step_to(START._replace(trainable=trainable), metrics=metrics))
    with pytest.raises(NonFiniteError, match=message):
        step(START, None, None)


def test_statistics_and_states_are_looked_at():
    bad = START._replace(stats={"bn.mean": replaced(START.stats["bn.mean"], torch.nan)})
    with pytest.raises(FloatingPointError, match=r"^params/stats/bn\.mean has 1 NaN"):
        check_finite(step_to(bad))(START, None, None)

    tx = optim.sgd(0.1, momentum=0.9)
    state = tx.init(START.trainable)
    grads = {**START.trainable, "fc.bias": torch.full((4,), torch.inf)}
    _, after = tx.update(grads, state, START.trainable)
    with pytest.raises(NonFiniteError, match=r"^opt_state/.*fc\.bias has 4 inf in 4 values"):
        check_finite(step_to(opt_state=after))(START, state, None)


def test_the_update_is_told_where_it_is_counted():
    tx = optim.sgd(0.1)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params.trainable)
        return params._replace(trainable=optim.apply_updates(params.trainable, updates)), state, {}

    params, state, checked = START, tx.init(START.trainable), check_finite(step)
    for _ in range(2):
        params, state, _ = checked(params, state, START.trainable)
    with pytest.raises(NonFiniteError, match=r"conv1\.weight .* after update 3, the first of 2"):
        checked(params, state, {name: g / 0 for name, g in START.trainable.items()})


def test_what_was_never_finite_is_let_pass():
    reduce = optim.plateau(0.1)
    state = reduce.init()
    assert not state.best.isfinite()
    checked = check_finite(step_to(opt_state=state))
    checked(START, state, None)
    with pytest.raises(NonFiniteError, match="opt_state/best has 1 inf"):
        checked(START, state._replace(best=torch.tensor(1.0)), None)
