"""The laws of mapped steps and of micro-batches, and violations that they detect."""

import pytest
import torch
from graphs import traced
from networks import batch, full, plain

from fnet import optim, random
from fnet.data import NORM_HALF, compose, random_crop, random_flip
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step
from fnet.testing import assert_accumulates, assert_vmap_agrees

STATES = [({"w": torch.full((2,), n)}, {"n": torch.tensor(n)}) for n in (1.0, 2.0, 3.0)]
ROW = {"x": torch.ones(2)}


@pytest.mark.parametrize(("shared", "optimizer"), [(True, optim.adam), (False, optim.sgd)])
def test_fnets_steps_are_mapped(shared, optimizer):
    model, tx = full(), optimizer(0.1)
    step = make_step(make_grad(model, cross_entropy, preprocess=NORM_HALF), tx)
    states = []
    for seed in range(2):
        params = model.init(random.key(seed))
        states.append((params, tx.init(params.trainable)))
    rows = batch(0) if shared else [batch(0), batch(1)]
    assert_vmap_agrees(step, states, rows)
    assert_vmap_agrees(step, states, rows, transform=traced)


def test_what_differs_under_vmap_is_named():
    def looks(params, opt_state, batch):
        with_all = torch._C._functorch.maybe_get_level(params["w"]) > 0
        return {"w": params["w"] + (0.5 if with_all else 0.0)}, opt_state, {}

    with pytest.raises(AssertionError, match="state 0: 'params/w': 2 of 2 values differ"):
        assert_vmap_agrees(looks, STATES, ROW)


def test_what_vmap_refuses_is_said():
    def decides(params, opt_state, batch):
        return (params if params["w"].sum() > 3 else {"w": batch["x"]}), opt_state, {}

    with pytest.raises(AssertionError, match=r"vmap.step. raises RuntimeError, step does not"):
        assert_vmap_agrees(decides, STATES, ROW)


def test_a_list_of_batches_is_one_for_each_state():
    def step(params, opt_state, batch):
        return {"w": params["w"] + batch["x"]}, opt_state, {"n": opt_state["n"]}

    assert_vmap_agrees(step, STATES, [{"x": torch.full((2,), n)} for n in (1.0, 2.0, 3.0)])


def test_fnets_gradients_add_up():
    augment = compose(random_crop(1), random_flip())
    grad_fn = make_grad(plain(), cross_entropy, preprocess=NORM_HALF, augment=augment)
    for m in (1, 2, 8):
        assert_accumulates(grad_fn, plain().init(random.key(0)), batch(0), m)
    with pytest.raises(ValueError, match="a batch of 8 cannot be split into 3"):
        assert_accumulates(grad_fn, plain().init(random.key(0)), batch(0), 3)


def sums(grad_fn):
    """A loss that is summed over the batch, not averaged."""

    def grad(params, batch):
        grads, stats, metrics = grad_fn(params, batch)
        return {n: g * batch.weight.sum() for n, g in grads.items()}, stats, metrics

    return grad


def draws_by_place(grad_fn):
    """A draw that depends on the index in the batch, not on the index in the data set."""

    def grad(params, batch):
        return grad_fn(params, batch._replace(index=torch.arange(len(batch.labels))))

    return grad


def averages(grad_fn):
    """Metrics that are means, so that their sums are wrong."""

    def grad(params, batch):
        grads, stats, metrics = grad_fn(params, batch)
        return grads, stats, {n: value / batch.weight.sum() for n, value in metrics.items()}

    return grad


@pytest.mark.parametrize(
    ("wrong", "leaf"), [(sums, "grads/"), (draws_by_place, "grads/"), (averages, "metrics/")]
)
def test_what_does_not_add_up_is_named(wrong, leaf):
    augment = compose(random_crop(1), random_flip())
    grad_fn = make_grad(plain(), cross_entropy, preprocess=NORM_HALF, augment=augment)
    with pytest.raises(AssertionError, match=f"2 micro-batches do not add up .*: '{leaf}"):
        assert_accumulates(wrong(grad_fn), plain().init(random.key(0)), batch(0), 2)


def test_batch_norm_does_not_add_up():
    grad_fn = make_grad(full(), cross_entropy, preprocess=NORM_HALF)
    with pytest.raises(AssertionError, match="do not add up"):
        assert_accumulates(grad_fn, full().init(random.key(0)), batch(0), 2)
