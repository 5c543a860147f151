"""A resumed run equals the uninterrupted run bit for bit; hidden state of a step is detected."""

import pytest
import torch
from networks import batch, full

from fnet import optim, random
from fnet.data import NORM_HALF
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step
from fnet.testing import assert_resumes

PARAMS = {"w": torch.ones(2)}
ROWS = [{"x": torch.full((2,), float(n))} for n in range(4)]


def test_fnets_steps_resume():
    model, tx = full(), optim.adam(optim.schedules.one_cycle(0.1, 4))
    params = model.init(random.key(0))
    step = make_step(make_grad(model, cross_entropy, preprocess=NORM_HALF), tx)
    assert_resumes(step, params, tx.init(params.trainable), map(batch, range(3)))


def counter():
    count = 0

    def step(params, opt_state, batch):
        nonlocal count
        count += 1
        return {"w": params["w"] + count}, opt_state, {}

    return step


def momentum_by_identity():
    momenta = {}

    def step(params, opt_state, batch):
        momentum = momenta.pop(id(params["w"]), 0.0) + batch["x"]
        new = {"w": params["w"] + momentum}
        momenta[id(new["w"])] = momentum
        return new, opt_state, {}

    return step


def noise():
    return lambda p, s, b: ({"w": p["w"] + torch.rand(2)}, s, {})


def metric():
    sums = []

    def step(params, opt_state, batch):
        sums.append(batch["x"].sum())
        return params, opt_state, {"total": sum(sums)}

    return step


@pytest.mark.parametrize(
    ("make", "leaf"),
    [
        (counter, "params/w"),
        (momentum_by_identity, "params/w"),
        (noise, "params/w"),
        (metric, "metrics/total"),
    ],
)
def test_what_is_remembered_elsewhere_is_noticed(make, leaf):
    with pytest.raises(AssertionError, match=f"resumed before step . differs .*: '{leaf}'"):
        assert_resumes(make(), PARAMS, {}, ROWS)


def test_arguments_and_generators_stay():
    def step(params, opt_state, batch):
        params["w"].add_(batch["x"])
        return params, opt_state, {}

    state = torch.get_rng_state()
    assert_resumes(step, PARAMS, {}, ROWS)
    assert PARAMS["w"].tolist() == [1.0, 1.0]
    assert torch.equal(torch.get_rng_state(), state)


def test_one_batch_is_too_few():
    with pytest.raises(ValueError, match="at least 2 batches, got 1"):
        assert_resumes(noise(), PARAMS, {}, ROWS[:1])
