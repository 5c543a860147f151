"""`assert_pure` detects and names each kind of impurity, and accepts pure functions."""

import contextvars
import datetime
import functools
import itertools
import random as python_random
import threading
import time
import types
from time import monotonic

import numpy as np
import pytest
import torch
from graphs import traced
from hypothesis import given, settings
from networks import full
from torch import nn

from fnet import optim, random, tree
from fnet.data import NORM_HALF, compose, random_crop, random_flip
from fnet.losses import cross_entropy
from fnet.step import make_grad, make_step
from fnet.testing import assert_pure, strategies

PARAMS = {"w": torch.tensor([[1.0, -2.0], [0.5, 3.0]]), "b": torch.tensor([0.25, 0.5])}
STATE = {"count": torch.zeros((), dtype=torch.int64)}
BATCH = {"x": torch.ones(2), "key": random.key(3)}

scale = torch.ones(())
table = np.ones(2)
calls = 0
settings_ = types.ModuleType("settings_")
settings_.scale, settings_.calls = torch.ones(()), 0
thread, context = threading.local(), contextvars.ContextVar("context", default=0)
thread.calls = 0
counts = {"calls": [0]}


def moved(params, by):
    return {name: leaf + by for name, leaf in params.items()}


def adds_in_place(params, opt_state, batch):
    return {"w": params["w"], "b": params["b"].add_(1)}, opt_state, {}


def replaces_an_entry(params, opt_state, batch):
    params["b"] = params["b"] + 1
    return params, opt_state, {}


def negates_a_zero(params, opt_state, batch):
    opt_state["zero"].neg_()
    return params, opt_state, {}


def changes_strides(params, opt_state, batch):
    params["w"].t_()
    return params, opt_state, {}


def writes_grad(params, opt_state, batch):
    leaf = params["w"].requires_grad_()
    leaf.sum().backward()
    return {"w": leaf.detach() - leaf.grad, "b": params["b"]}, opt_state, {}


def draws_by_torch(params, opt_state, batch):
    return moved(params, torch.rand(2)), opt_state, {}


def draws_by_numpy(params, opt_state, batch):
    return moved(params, float(np.random.rand())), opt_state, {}


def draws_by_python(params, opt_state, batch):
    return moved(params, python_random.random()), opt_state, {}


def reads_a_generator(params, opt_state, batch):
    return moved(params, float(python_random.getstate()[1][5] % 1000)), opt_state, {}


def draws_by_its_own_generator():
    generator = torch.Generator()

    def step(params, opt_state, batch):
        return moved(params, torch.rand(2, generator=generator)), opt_state, {}

    return step


def draws_from_the_system(params, opt_state, batch):
    return moved(params, python_random.SystemRandom().random()), opt_state, {}


def reads_a_global(params, opt_state, batch):
    return moved(params, scale), opt_state, {}


def reads_a_modules_tensor(params, opt_state, batch):
    return moved(params, settings_.scale), opt_state, {}


def reads_an_array(params, opt_state, batch):
    return moved(params, float(table[0])), opt_state, {}


def reads_by_a_helper(params, opt_state, batch):
    return reads_a_global(params, opt_state, batch)


def reads_a_variable():
    mine = torch.ones(2)
    return lambda params, opt_state, batch: (moved(params, mine), opt_state, {})


def reads_an_index():
    index = torch.tensor([1, 0])
    return lambda params, opt_state, batch: (moved(params, params["b"][index]), opt_state, {})


def reads_by_a_partial():
    def step(mine, params, opt_state, batch):
        return moved(params, mine), opt_state, {}

    return functools.partial(step, torch.ones(2))


def reads_a_modules_weights():
    layer = nn.Linear(2, 2)
    return lambda params, opt_state, batch: (moved(params, layer(batch["x"])), opt_state, {})


def counts_in_a_global(params, opt_state, batch):
    global calls
    calls += 1
    return moved(params, 1), opt_state, {}


def counts_in_a_module(params, opt_state, batch):
    settings_.calls += 1
    return moved(params, 1), opt_state, {}


def counts_deep_inside(params, opt_state, batch):
    counts["calls"][0] += 1
    return moved(params, 1), opt_state, {}


def counts_in_a_variable():
    count = 0

    def step(params, opt_state, batch):
        nonlocal count
        count += 1
        return moved(params, 1), opt_state, {}

    return step


def counts_by_an_iterator():
    count = itertools.count()
    return lambda params, opt_state, batch: (moved(params, 0 * next(count)), opt_state, {})


def counts_in_a_default():
    def step(params, opt_state, batch, seen=[]):  # noqa: B006
        seen.append(1)
        return moved(params, 1), opt_state, {}

    return step


class Counts:
    every = 0

    def __init__(self):
        self.own = 0

    def __call__(self, params, opt_state, batch):
        self.own += 1
        return moved(params, 1), opt_state, {}

    def of_the_class(self, params, opt_state, batch):
        Counts.every += 1
        return moved(params, 1), opt_state, {}


def counts_in_an_attribute(params, opt_state, batch):
    counts_in_an_attribute.calls += 1
    return moved(params, 1), opt_state, {}


counts_in_an_attribute.calls = 0


def counts_in_a_thread(params, opt_state, batch):
    thread.calls += 1
    return moved(params, 1), opt_state, {}


def counts_in_a_context(params, opt_state, batch):
    context.set(context.get() + 1)
    return moved(params, 1), opt_state, {}


def keeps_statistics():
    norm = nn.BatchNorm1d(2)

    def step(params, opt_state, batch):
        return moved(params, norm(params["w"]).sum().detach()), opt_state, {}

    return step


def depends_on_the_time(params, opt_state, batch):
    return moved(params, time.time() % 100), opt_state, {}


def depends_on_the_hour(params, opt_state, batch):
    return moved(params, int(monotonic()) // 3600), opt_state, {}


def depends_on_the_calendar(params, opt_state, batch):
    return moved(params, time.localtime().tm_yday), opt_state, {}


def depends_on_the_text_of_the_time(params, opt_state, batch):
    return moved(params, int(time.strftime("%j"))), opt_state, {}


def depends_on_the_date(params, opt_state, batch):
    return moved(params, datetime.date.today().toordinal()), opt_state, {}


def returns_a_view(params, opt_state, batch):
    return moved(params, 1), opt_state, {"first": params["w"][0]}


def returns_its_buffer():
    buffers = {}

    def step(params, opt_state, batch):
        buffer = buffers.setdefault("b", torch.empty(2))
        return {"b": torch.add(params["b"], 1, out=buffer)}, opt_state, {}

    return step


def turns_gradients_off(params, opt_state, batch):
    torch.set_grad_enabled(False)
    return moved(params, 1), opt_state, {}


IMPURE = [
    (adds_in_place, r"changes an argument: 'params/b': 2 of 2 values differ.*1.25 against 0.25"),
    (replaces_an_entry, "changes an argument: 'params/b'"),
    (negates_a_zero, "changes an argument: 'opt_state/zero': other bits"),
    (changes_strides, r"changes an argument: 'params/w'"),
    (writes_grad, "changes an argument: 'params/w.requires_grad'"),
    (draws_by_torch, "draws from torch's global generator: pass a key"),
    (draws_by_numpy, "draws from numpy's global generator"),
    (draws_by_python, "draws from Python's global generator"),
    (reads_a_generator, "reads Python's global generator: 'params/w'"),
    (draws_by_its_own_generator(), "changes .* generator .closed over by"),
    (draws_from_the_system, "two results for the same arguments: 'params/w'"),
    (reads_a_global, r"reads scale \(a global of .*test_purity\)"),
    (reads_a_modules_tensor, r"reads settings_.scale \(a global of settings_\)"),
    (reads_an_array, r"reads table \(a global"),
    (reads_by_a_helper, r"reads scale \(a global"),
    (reads_a_variable(), r"reads mine \(closed over by reads_a_variable"),
    (reads_an_index(), r"reads index \(closed over by reads_an_index"),
    (reads_by_a_partial(), r"reads partial.args\[0\]"),
    (reads_a_modules_weights(), r"reads layer._parameters\['(weight|bias)'\]"),
    (
        counts_in_a_global,
        r"changes a variable outside of itself: calls \(a global .*\) was \d, and is \d",
    ),
    (counts_in_a_module, r"settings_.calls \(a global of settings_\) was \d, and is \d"),
    (counts_deep_inside, r"counts\['calls'\]\[0\] \(a global .*\) was \d, and is \d"),
    (counts_in_a_variable(), r"count \(closed over by .*\) was 0, and is 1"),
    (counts_by_an_iterator(), r"count \(closed over by .*\) was count\(\d\), and is count\(\d\)"),
    (counts_in_a_default(), r"default 0 \(what is called\) was a list"),
    (Counts(), r"Counts.own \(what is called\) was 0, and is 1"),
    (Counts().of_the_class, r"Counts.every .* was \d, and is \d"),
    (counts_in_an_attribute, "counts_in_an_attribute.calls .* was 0, and is 1"),
    (counts_in_a_thread, r"thread.calls .* was \d, and is \d"),
    (counts_in_a_context, r"context .* was (None|\d), and is \d"),
    (keeps_statistics(), r"norm._buffers\['\w+'\].*values? differ|norm._buffers\['\w+'\].*against"),
    (depends_on_the_time, "same arguments, and reads the time: 'params/w'"),
    (depends_on_the_hour, "depends on the time: 'params/w'"),
    (depends_on_the_calendar, "depends on the time: 'params/w'"),
    (depends_on_the_text_of_the_time, "depends on the time: 'params/w'"),
    (depends_on_the_date, "depends on the time: 'params/w'"),
    (returns_a_view, "'metrics/first', which shares memory with its argument 'params/w'"),
    (returns_its_buffer(), "changes a variable outside of itself: buffers"),
    (turns_gradients_off, "changes whether gradients are on, from True to False"),
]


def arguments():
    params, state, rows = tree.map(torch.clone, (PARAMS, STATE, BATCH))
    return params, {**state, "zero": torch.zeros(())}, rows


@pytest.mark.parametrize(("step", "message"), IMPURE)
def test_what_is_not_pure_is_refused_by_name(step, message):
    state = torch.get_rng_state(), python_random.getstate(), np.random.get_state()
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        assert_pure(step, *arguments())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert python_random.getstate() == state[1]
    assert np.array_equal(np.random.get_state()[1], state[2][1])


def test_what_is_read_has_its_values_back():
    version = scale._version
    with pytest.raises(AssertionError, match="scale"):
        assert_pure(reads_a_global, *arguments())
    assert scale.item() == 1.0
    assert scale._version == version
    with pytest.raises(AssertionError, match="table"):
        assert_pure(reads_an_array, *arguments())
    assert table.tolist() == [1.0, 1.0]


def test_constants_are_let_pass_but_may_not_change():
    weights = torch.ones(2).expand(2, 2)

    def step(params, opt_state, batch):
        return {"w": params["w"] * weights}, opt_state, {}

    with pytest.raises(AssertionError, match=r"reads weights .*constants="):
        assert_pure(step, *arguments())
    assert_pure(step, *arguments(), constants=[weights])

    def writes(params, opt_state, batch):
        scale.mul_(2)
        return params, opt_state, {}

    with pytest.raises(AssertionError, match="changes a variable outside of itself: 'scale"):
        assert_pure(writes, *arguments(), constants=scale)
    scale.fill_(1)


def test_what_is_named_but_not_read_is_let_pass():
    unused = torch.ones(2)

    def step(params, opt_state, batch):
        return moved(params, unused.ndim), {**opt_state, "zero": torch.zeros_like(scale)}, {}

    assert_pure(step, *arguments())


def test_a_cache_of_functions_and_an_argument_handed_on_are_pure():
    @functools.cache
    def factor(n):
        return 2.0**n

    def step(params, opt_state, batch):
        assert time.time() > 0
        return {**params, "b": params["b"] * factor(3)}, opt_state, {"x": batch["x"]}

    assert_pure(step, *arguments())


def test_results_and_arguments_may_be_anything():
    assert_pure(lambda: None)
    assert_pure(lambda x, n: [x * n, n, None, "text"], torch.tensor([float("nan"), -0.0]), 3)
    assert_pure(torch.mul, torch.ones(2).expand(3, 2), 2.0)
    assert_pure(np.add, np.ones(2), np.ones(2))
    with pytest.raises(AssertionError, match="changes an argument: 'a'"):
        assert_pure(lambda a: a.sort(), np.array([3.0, 1.0]))


@settings(max_examples=3, deadline=None)
@given(rows=strategies.batches(), key=strategies.keys())
def test_fnets_steps_are_pure(rows, key):
    model, tx = full(), optim.adamw(optim.schedules.one_cycle(1e-2, 10))
    augment = compose(random_crop(1), random_flip())
    grad_fn = make_grad(model, cross_entropy, preprocess=NORM_HALF, augment=augment)
    params = model.init(key)
    assert_pure(make_step(grad_fn, tx), params, tx.init(params.trainable), rows)


def test_models_transformations_and_compiled_and_mapped_functions_are_pure():
    model, tx = full(), optim.sgd(0.1, momentum=0.9)
    assert_pure(model.init, random.key(0))
    params = model.init(random.key(0)).trainable
    assert_pure(tx.init, params)
    assert_pure(tx.update, params, tx.init(params), params)
    assert_pure(traced(tx.update), params, tx.init(params), params)
    assert_pure(torch.func.vmap(torch.mul), torch.ones(3), torch.ones(3))
    assert_pure(torch.compile(lambda x: x * 2, backend="eager"), torch.ones(3))
    with pytest.raises(AssertionError, match="reads scale"):
        assert_pure(torch.func.vmap(lambda x: x * scale), torch.ones(3))
    with pytest.raises(AssertionError, match="reads scale"):
        assert_pure(torch.compile(lambda x: x * scale, backend="eager"), torch.ones(3))


def test_a_counter_in_a_users_network_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(2, 2), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x)

    net = Net()

    def step(params, opt_state, batch):
        out = torch.func.functional_call(net, params, (batch["x"],))
        return params, opt_state, {"loss": out.sum()}

    params = {name: leaf.detach().clone() for name, leaf in net.named_parameters()}
    with pytest.raises(AssertionError, match=r"net.calls \(closed over by .* was 0, and is 1"):
        assert_pure(step, params, {}, BATCH)
