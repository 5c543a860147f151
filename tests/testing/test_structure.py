"""The laws of a step's results: layout of the arguments, and draws from the batch's key."""

import pytest
import torch
from networks import batch, full, plain

from fnet import optim, random, tree
from fnet.data import NORM_HALF
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step
from fnet.testing import assert_depends_on_key, assert_keeps_structure

PARAMS = {"w": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(2)}


def fnets(model):
    tx = optim.sgd(0.1)
    params = model.init(random.key(0))
    step = make_step(make_grad(model, cross_entropy, preprocess=NORM_HALF), tx)
    return step, params, tx.init(params.trainable), batch(0)


def test_fnets_steps_hold_both():
    assert_keeps_structure(*fnets(full()))
    assert_depends_on_key(*fnets(full()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p, s: ({**p, "w": p["w"].contiguous()}, s),
            r"'params/w': strides \(2, 1\) against",
        ),
        (lambda p, s: ({**p, "b": p["b"].double()}, s), "'params/b': dtype torch.float64 against"),
        (lambda p, s: ({**p, "b": p["b"][:1]}, s), r"'params/b': shape \(1,\) against \(2,\)"),
        (lambda p, s: ({"w": p["w"]}, s), "'params/b' is missing from the first"),
        (lambda p, s: (p, {"n": 1}), "'opt_state/n': int against Tensor"),
        (lambda p, s: (p, None), "'opt_state'"),
    ],
)
def test_another_layout_is_named(change, message):
    def step(params, opt_state, batch):
        return (*change(params, opt_state), {})

    with pytest.raises(AssertionError, match=message):
        assert_keeps_structure(step, PARAMS, {"n": torch.zeros(())}, None)


def test_a_leaf_attached_to_the_graph_is_named():
    def step(params, opt_state, batch):
        return tree.map(lambda leaf: leaf.clone().requires_grad_() * 2, params), opt_state, {}

    with pytest.raises(AssertionError, match="'params/w' attached to autograd's graph"):
        assert_keeps_structure(step, PARAMS, {}, None)


@pytest.mark.parametrize("result", [(PARAMS, {}), PARAMS, None, [PARAMS, {}, {}]])
def test_a_step_returns_three_things(result):
    with pytest.raises(AssertionError, match="a step returns a tuple"):
        assert_keeps_structure(lambda *_: result, PARAMS, {}, None)


def test_a_step_that_ignores_the_key_is_refused():
    with pytest.raises(AssertionError, match=r"ignores 'batch/key'.* 3 other keys"):
        assert_depends_on_key(*fnets(plain()))

    def keeps_the_key(params, opt_state, batch):
        return params, {"key": batch["key"]}, {}

    with pytest.raises(AssertionError, match="ignores 'batch/key'"):
        assert_depends_on_key(keeps_the_key, PARAMS, {}, {"key": random.key(0)})


def test_a_batch_without_a_key_is_refused():
    with pytest.raises(AssertionError, match="no leaf 'batch/key'"):
        assert_depends_on_key(lambda p, s, b: (p, s, {}), PARAMS, {}, {"x": torch.ones(2)})
