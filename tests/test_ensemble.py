"""K models trained by one step: each of them is the model trained alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import batch, full, plain
from trees import trees

from fnet import data, ensemble, optim, random, tree
from fnet.data import NORM_HALF, compose, random_crop, random_flip
from fnet.ensemble import member, members, stack, train_many
from fnet.loop import fit
from fnet.losses import cross_entropy
from fnet.optim import get_hyper, set_hyper
from fnet.step import make_grad, make_step
from fnet.testing import assert_pure

RATES = [1e-3, 3e-2, 1e-1]
KEYS = random.split(random.key(7), 3)
PARTS = {
    # A bias before batch norm has no gradient but rounding, which Adam scales up.
    "adam": (plain, lambda: optim.adam(0.1, weight_decay=0.0)),
    "flat": (full, lambda: optim.flatten(optim.sgd(0.1, momentum=0.9, weight_decay=0.0))),
}


def eager(step):
    return step


def of_three(name="flat"):
    """Return a step, and the stacked state of three models that differ in seed and options."""
    model, tx = (make() for make in PARTS[name])
    augment = compose(random_crop(1), random_flip())
    grad_fn = make_grad(model, cross_entropy, preprocess=NORM_HALF, augment=augment)
    params = ensemble.init(model, KEYS)
    opt_state = ensemble.init_opt(tx, params)
    opt_state = set_hyper(opt_state, "learning_rate", torch.tensor(RATES, dtype=torch.float64))
    opt_state = set_hyper(opt_state, "weight_decay", torch.tensor([0.0, 0.1, 0.5]))
    return make_step(grad_fn, tx), params, opt_state


def alone(step, params, opt_state, batches_of):
    """Return the states of the models, each trained alone on its batches."""
    reached = []
    for i in range(len(KEYS)):
        own = tree.map(torch.clone, (member(params, i), member(opt_state, i)))
        for rows in batches_of(i):
            *own, sums = step(*own, rows)
        reached.append((*own, sums))
    return reached


def together(step, params, opt_state, batches):
    for rows in batches:
        params, opt_state, sums = step(params, opt_state, rows)
    return params, opt_state, sums


SHARED = [batch(0), batch(1)]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_each_model_is_the_model_trained_alone(strategy, name):
    step, params, opt_state = of_three(name)
    expected = alone(step, params, opt_state, lambda i: SHARED)
    many = train_many(step, strategy=strategy, compile=eager)
    reached = together(many, params, opt_state, SHARED)
    for one, own in zip(members(reached), expected, strict=True):
        if strategy == "loop":
            tree.assert_equal(one, own)
        else:
            tree.assert_close(one, own, rtol=1e-4, atol=1e-5)
    assert tree.first_layout_difference(reached[:2], (params, opt_state)) is None
    assert get_hyper(reached[1], "learning_rate").tolist() == RATES


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    rates=st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=4),
    own_rows=st.booleans(),
    own_keys=st.booleans(),
)
def test_members_and_models_alone_agree(seed, rates, own_rows, own_keys):
    model, tx = plain(), optim.sgd(0.1)
    count = len(rates)
    params = ensemble.init(model, random.split(random.key(seed), count))
    rates = torch.tensor(rates, dtype=torch.float64)
    opt_state = set_hyper(ensemble.init_opt(tx, params), "learning_rate", rates)
    step = make_step(
        make_grad(model, cross_entropy, preprocess=NORM_HALF, augment=random_crop(2)), tx
    )
    rows = [batch(seed + i * own_rows) for i in range(count)]
    if own_keys:
        keys = random.split(random.key(seed + 1), count)
        rows = [own._replace(key=key) for own, key in zip(rows, keys, strict=True)]
    given = stack(rows) if own_rows else rows[0]
    if own_keys and not own_rows:
        given = given._replace(key=keys)
    expected = [
        step(member(params, i), member(opt_state, i), rows[i if own_rows or own_keys else 0])
        for i in range(count)
    ]
    loop = train_many(step, strategy="loop", compile=eager)(params, opt_state, given)
    mapped = train_many(step, strategy="vmap", compile=eager)(params, opt_state, given)
    tree.assert_equal(loop, stack(expected))
    tree.assert_close(mapped, stack(expected), rtol=1e-4, atol=1e-5)


def test_a_stream_of_its_own_for_each_model_is_what_it_would_see_alone():
    step, params, opt_state = of_three("adam")
    few = batch(0, 20)
    images = data.Dataset(few.images, few.labels, tuple("abcde"), "random")
    keys = random.split(random.key(3), 3)
    many = train_many(step, strategy="loop", compile=eager)
    rows = ensemble.batches(keys, images, 8, epochs=2)
    *_, last = fit(many, params, opt_state, rows, steps_per_epoch=2)
    assert (last.step, last.epoch_done) == (4, True)
    for i, key in enumerate(keys):
        own = tree.map(torch.clone, (member(params, i), member(opt_state, i)))
        *_, single = fit(step, *own, key, images, size=8, epochs=2)
        tree.assert_equal(member(last.params, i), single.params)
        tree.assert_equal(member(last.metrics, i), single.metrics)
    assert len(ensemble.means(last.metrics)) == 3


def test_auto_keeps_the_faster_one_and_says_which(monkeypatch):
    step, params, opt_state = of_three()
    many = train_many(step, compile=eager)
    assert many.strategy is None
    reached = many(params, opt_state, batch(0))
    assert many.strategy == min(many.seconds, key=many.seconds.get)
    assert set(many.seconds) == {"loop", "vmap"}
    named = train_many(step, strategy=many.strategy, compile=eager)
    tree.assert_equal(reached, named(params, opt_state, batch(0)))


def test_auto_is_the_loop_where_a_step_has_no_vmap():
    def step(params, opt_state, batch):
        sums = {"loss": params["w"].sum(), "count": torch.ones(())}
        return (params if params["w"].sum() > 3 else {"w": params["w"] + 1}), opt_state, sums

    params = {"w": torch.arange(3.0)}
    many = train_many(step, compile=eager)
    assert many(params, (), batch(0))[0]["w"].tolist() == [1, 2, 3]
    assert (many.strategy, set(many.seconds)) == ("loop", {"loop"})


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_the_step_of_many_models_is_pure(strategy):
    step, params, opt_state = of_three()
    assert_pure(train_many(step, strategy=strategy, compile=eager), params, opt_state, batch(0))


@given(st.lists(trees, min_size=1, max_size=1), st.integers(1, 3))
def test_stack_and_members_are_inverse(one, count):
    copies = [tree.map(lambda leaf, i=i: (leaf + i).to(leaf.dtype), one[0]) for i in range(count)]
    if not tree.leaves(copies[0]):
        with pytest.raises(ValueError, match="without leaves"):
            members(stack(copies))
        return
    stacked = stack(copies)
    assert ensemble.size(stacked) == count
    for i, (found, expected) in enumerate(zip(members(stacked), copies, strict=True)):
        tree.assert_equal(found, expected)
        tree.assert_equal(found, member(stacked, i))


def test_a_member_keeps_its_memory_format():
    params = ensemble.init(full(), KEYS)
    single = full().init(KEYS[1])
    tree.assert_equal(member(params, 1), single)
    assert tree.first_layout_difference(member(params, 1), single) is None


def test_mistakes_are_named():
    step, params, opt_state = of_three()
    many = train_many(step, strategy="loop", compile=eager)
    with pytest.raises(ValueError, match=r"begins with \[3\] and '1/.*' with \["):
        many(params, member(opt_state, 0), batch(0))
    two_keys = batch(0)._replace(key=random.split(random.key(0), 2))
    with pytest.raises(ValueError, match=r"batch.key has shape \[2, 2\]: with a leading dim"):
        many(params, opt_state, two_keys)
    with pytest.raises(ValueError, match='strategy is "vmap", "loop" or "auto"; got "fast"'):
        train_many(step, strategy="fast")
    with pytest.raises(ValueError, match="nothing to stack"):
        stack([])
    with pytest.raises(ValueError, match=r"leaves of one shape can be stacked; got \[2\], \[3\]"):
        stack([torch.zeros(2), torch.zeros(3)])
