"""The laws of compiled steps hold for fnet's steps, and detect violations of a user's steps."""

import pytest
import torch
from graphs import traced
from networks import batch, full, plain

from fnet import optim, random
from fnet.compiler import compile
from fnet.data import NORM_HALF
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step
from fnet.testing import assert_compiled_agrees, assert_compiles_once
from fnet.testing.compiled import is_fnet_compiled

PARAMS = {"w": torch.ones(2, 3), "b": torch.ones(2)}
LR = {"lr": torch.tensor(0.5)}
ROWS = [{"x": torch.ones(2)} for _ in range(3)]


def sgd(params, opt_state, batch):
    return {n: p - opt_state["lr"] * 0.1 for n, p in params.items()}, opt_state, {}


def own(step, **options):
    return torch.compile(step, backend="eager", **options)


def fnets(model, tx):
    params = model.init(random.key(0))
    step = make_step(make_grad(model, cross_entropy, preprocess=NORM_HALF), tx)
    return step, params, tx.init(params.trainable)


def test_fnets_steps_compile_once():
    tx = optim.sgd(optim.schedules.one_cycle(0.1, 10), momentum=0.9)
    args = fnets(plain(), tx)
    assert_compiles_once(*args, [batch(0), batch(1)])
    # More often than Dynamo's recompile limit of one code object.
    for scale in range(12):
        assert_compiles_once(
            lambda p, s, b, scale=scale: ({n: p[n] * scale for n in p}, s, {}), PARAMS, LR, ROWS
        )


@pytest.mark.parametrize(
    "wrap", [lambda step: step, lambda step: own(step, dynamic=False)], ids=["plain", "compiled"]
)
def test_a_rate_that_is_a_number_is_named(wrap):
    with pytest.raises(AssertionError, match=r"'opt_state/lr': 0.5, then 0.25: .* 0-d tensor"):
        assert_compiles_once(wrap(sgd), PARAMS, {"lr": 0.5}, ROWS)
    assert_compiles_once(wrap(sgd), PARAMS, LR, ROWS)

    def decays(params, opt_state, batch):
        return sgd(params, opt_state, batch)[0], {"lr": opt_state["lr"] * 0.5}, {}

    with pytest.raises(AssertionError, match=r"at call 2: 'opt_state/lr': 0.5, then 0.25"):
        assert_compiles_once(wrap(decays), PARAMS, {"lr": 0.5}, ROWS)


@pytest.mark.parametrize("called_before", [False, True])
def test_a_rate_that_a_compiled_step_closes_over_is_named_by_its_guard(called_before):
    rate = [0.5]

    def step(params, opt_state, batch):
        return {n: p - rate[0] for n, p in params.items()}, opt_state, {}

    def decay():
        for row in ROWS:
            yield row
            rate[0] *= 0.5

    step = own(step)
    if called_before:
        step(PARAMS, LR, ROWS[0])
    assert_compiles_once(step, PARAMS, LR, ROWS)
    with pytest.raises(AssertionError, match=r"(?s)compiled again at call 2: .*rate\[0\] == 0.5"):
        assert_compiles_once(step, PARAMS, LR, decay())


def test_another_shape_and_other_strides_are_named():
    ragged = [ROWS[0], {"x": torch.ones(1)}]
    uses = lambda p, s, b: ({n: p[n] + b["x"].sum() for n in p}, s, {})  # noqa: E731
    for step in (uses, own(uses, dynamic=False)):
        with pytest.raises(AssertionError, match=r"'batch/x': shape \(2,\) against \(1,\)"):
            assert_compiles_once(step, PARAMS, LR, ragged)
    assert_compiles_once(
        own(uses, dynamic=True), PARAMS, LR, [{"x": torch.ones(n)} for n in (4, 5)]
    )

    def transposes(params, opt_state, batch):
        return {**params, "w": params["w"].t().contiguous().t()}, opt_state, {}

    with pytest.raises(AssertionError, match=r"at call 2: 'params/w': strides"):
        assert_compiles_once(transposes, PARAMS, LR, ROWS)


def test_what_dynamo_cannot_read_is_held_to_its_arguments():
    def step(params, opt_state, batch):
        torch._dynamo.graph_break()
        return sgd(params, opt_state, batch)

    assert_compiles_once(step, PARAMS, LR, ROWS)
    with pytest.raises(AssertionError, match="'opt_state/lr'"):
        assert_compiles_once(step, PARAMS, {"lr": 0.5}, ROWS)


def test_what_the_step_raises_is_raised():
    def step(params, opt_state, batch):
        raise KeyError("no such leaf")

    with pytest.raises(KeyError, match="no such leaf"):
        assert_compiles_once(step, PARAMS, LR, ROWS)
    with pytest.raises(ValueError, match="batches is empty"):
        assert_compiles_once(sgd, PARAMS, LR, [])


def test_fnets_compile_agrees_and_is_recognized():
    # If a true gradient is 0, its rounding error decides the sign of Adam's whole first step.
    step, params, state = fnets(full(), optim.adam(1e-2))
    assert_compiled_agrees(step, params, state, batch(0), compile=traced)
    assert is_fnet_compiled(compile(step))
    assert is_fnet_compiled(compile(step, donate=True))
    assert not is_fnet_compiled(step)
    assert_compiles_once(compile(sgd), PARAMS, LR, ROWS)


def test_inductor_agrees():
    assert_compiled_agrees(sgd, PARAMS, LR, ROWS[0])


def test_a_compiled_step_of_ones_own_agrees_with_itself():
    assert_compiled_agrees(own(sgd), PARAMS, LR, ROWS[0])

    def differs(params, opt_state, batch):
        more = 1.0 if torch.compiler.is_compiling() else 0.0
        return {**params, "b": params["b"] + more}, opt_state, {}

    for step, how in ((own(differs), compile), (differs, own)):
        with pytest.raises(
            AssertionError, match=r"'params/b': 2 of 2 values differ.*2.0 against 1.0"
        ):
            assert_compiled_agrees(step, PARAMS, LR, ROWS[0], compile=how)


def test_strides_that_compiling_changes_are_named():
    def loses(step):
        def call(params, opt_state, batch):
            params, opt_state, sums = step(params, opt_state, batch)
            return {**params, "w": params["w"].t().contiguous().t()}, opt_state, sums

        return call

    with pytest.raises(AssertionError, match="'params/w': strides"):
        assert_compiled_agrees(sgd, PARAMS, LR, ROWS[0], compile=loses)
