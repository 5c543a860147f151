"""The laws of a step: pure, deterministic, same structure, same results compiled and mapped."""

import copy
from contextlib import nullcontext

import graphs
import pytest
import torch
from graphs import nothing_compiled, operations, traced
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import batch, full, plain, take

from fnet import metrics, optim, random, tree
from fnet.compiler import compile, options
from fnet.compiler.kernels import pool
from fnet.data import compose, random_crop, random_flip
from fnet.losses import cross_entropy
from fnet.nn import Params
from fnet.step import accumulate, make_eval, make_grad, make_step, skip_nonfinite
from fnet.testing import (
    assert_accumulates,
    assert_compiles_once,
    assert_depends_on_key,
    assert_keeps_structure,
    assert_pure,
    assert_vmap_agrees,
)

OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adamw": lambda: optim.adamw(optim.schedules.one_cycle(1e-2, 10)),
    "muon": lambda: optim.partition(
        {"muon": optim.muon(0.02), "adam": optim.adam(1e-3)},
        lambda path, leaf: "muon" if leaf.dim() == 4 else "adam",
    ),
}


def preprocess(images):
    return images.to(torch.float32) / 255


def step_of(model, tx, augment=True):
    augments = compose(random_crop(1), random_flip()) if augment else None
    return make_step(make_grad(model, cross_entropy, preprocess=preprocess, augment=augments), tx)


def start(model, tx, seed=0):
    params = model.init(random.key(seed))
    return params, tx.init(params.trainable)


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_step_is_pure_and_deterministic_and_keeps_the_trees(name, seed):
    model, tx = full(), OPTIMIZERS[name]()
    step, inputs = step_of(model, tx), (*start(model, tx, seed), batch(seed))
    assert_pure(step, *inputs)
    assert_keeps_structure(step, *inputs)
    assert_depends_on_key(step, *inputs)
    first = step(*inputs)
    other = step(*inputs[:2], batch(seed)._replace(key=random.key(seed ^ 1)))
    assert not tree.equal(other[0].trainable, first[0].trainable)


def test_a_compiled_step_is_the_step_and_compiles_once():
    model, tx = full(), OPTIMIZERS["sgd"]()
    step = step_of(model, tx)
    compiled = compile(step)
    eager_state = compiled_state = start(model, tx)
    for seed in range(3):
        *eager_state, sums = step(*eager_state, batch(seed))
        with nothing_compiled() if seed else nullcontext():
            *compiled_state, compiled_sums = compiled(*compiled_state, batch(seed))
        tree.assert_close(compiled_sums, sums, rtol=1e-4, atol=1e-4)
    tree.assert_close(tuple(compiled_state), tuple(eager_state), rtol=1e-3, atol=1e-4)
    inputs = (*start(model, tx), batch(0))
    tree.assert_equal(compile(step, cpp_wrapper=True)(*inputs), compiled(*inputs))


def test_steps_of_one_shape_are_compiled_apart():
    # All steps share one code object, and there are no guards on what they close over.
    params, state, rows = (*start(plain(), OPTIMIZERS["sgd"]()), batch(0))

    def closed(scale):
        return lambda params, state, rows: {"loss": rows.weight.sum() * scale}

    compiled = [compile(closed(scale)) for scale in (2.0, 3.0)]
    sums = [one(params, state, rows)["loss"].item() / rows.weight.sum().item() for one in compiled]
    assert sums == pytest.approx([2.0, 3.0])


def test_a_donated_state_holds_the_new_values(monkeypatch):
    monkeypatch.setattr(options, "compile_options", lambda *_: graphs.backend(operations))
    model, tx = full(), OPTIMIZERS["muon"]()
    step = step_of(model, tx)
    donated, step = compile(step, donate=True), compile(step)
    pure = mine = start(model, tx)
    places = [leaf.data_ptr() for leaf in tree.leaves(mine)]
    mine = copy.deepcopy(mine)
    for seed in range(2):
        *pure, sums = step(*pure, batch(seed))
        before = [leaf.data_ptr() for leaf in tree.leaves(tuple(mine))]
        *mine, mine_sums = donated(*mine, batch(seed))
        assert [leaf.data_ptr() for leaf in tree.leaves(tuple(mine))] == before != places
        tree.assert_equal(mine_sums, sums)
    tree.assert_equal(tuple(mine), tuple(pure))


def test_a_step_that_is_not_finite_is_skipped_whole():
    model, tx = full(), OPTIMIZERS["sgd"]()
    step = step_of(model, tx)
    guarded = skip_nonfinite(step)
    inputs = (*start(model, tx), batch(0))
    tree.assert_equal(guarded(*inputs), step(*inputs))
    params, state, rows = inputs
    # An infinite learning rate or a NaN loss: each one alone must skip the update.
    for bad in (
        (params, optim.set_hyper(state, "learning_rate", torch.inf), rows),
        (params, state, rows._replace(weight=rows.weight * torch.nan)),
    ):
        after, after_state, sums = guarded(*bad)
        tree.assert_equal((after, after_state), bad[:2])
        assert [value.item() for value in sums.values()] == [0.0] * len(sums)


@pytest.mark.parametrize("where", ["trainable", "stats", "opt_state", "loss"])
def test_one_number_that_is_not_finite_is_enough(where):
    before = Params({"w": torch.ones(2)}, {"mean": torch.ones(2)}), {"trace": torch.ones(2)}

    def step(params, state, batch):
        def new(name):
            return torch.tensor([2.0, torch.nan if name == where else 2.0])

        moved = Params({"w": new("trainable")}, {"mean": new("stats")})
        return moved, {"trace": new("opt_state")}, {"loss": new("loss").sum()}

    after, after_state, sums = skip_nonfinite(step)(*before, batch(0))
    tree.assert_equal((after, after_state), before)
    assert sums["loss"].item() == 0.0


def test_a_new_value_of_a_hyper_parameter_or_a_rate_does_not_recompile():
    model, tx = full(), OPTIMIZERS["sgd"]()
    # With torch.compile itself, which traces the bytecode.
    step = torch.compile(step_of(model, tx), fullgraph=True, dynamic=False, backend="aot_eager")
    params, state = start(model, tx)
    step(params, state, batch(0))
    with torch.compiler.set_stance("fail_on_recompile"):
        state = optim.set_hyper(state, "learning_rate", 0.01)
        params = params._replace(stats={**params.stats, "3.p": torch.tensor(0.25)})
        moved, _, _ = step(params, state, batch(0))
        still, _, _ = step(params, optim.set_hyper(state, "lr_scale", 0.0), batch(0))
    assert not tree.equal(moved.trainable, params.trainable)
    tree.assert_equal(still.trainable, params.trainable)
    assert_compiles_once(step, params, state, [batch(0)])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_mapped_step_is_each_single_step(name, compiled, monkeypatch):
    monkeypatch.setattr(pool, "_MAX_LOOP_ELEMENTS", 0)  # as if the images were large
    # If a true gradient is 0 (a bias before batch norm), rounding decides the sign of Adam's steps.
    model, tx = plain() if name == "adamw" else full(), OPTIMIZERS[name]()
    step = step_of(model, tx)
    assert_vmap_agrees(
        step,
        [start(model, tx, seed) for seed in range(3)],
        [batch(seed) for seed in range(3)],
        transform=traced if compiled else None,
        rounding=False,
    )


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), m=st.sampled_from([2, 4, 8]), padding=st.integers(0, 7))
def test_micro_batches_add_up_to_the_batch(seed, m, padding):
    model = plain()
    augment = compose(random_crop(1), random_flip())
    grad_fn = make_grad(model, cross_entropy, preprocess=preprocess, augment=augment)
    params, whole = model.init(random.key(seed)), batch(seed)
    whole = whole._replace(weight=(torch.arange(8) >= padding).to(torch.float32))
    assert_accumulates(grad_fn, params, whole, m, rounding=False)


def test_a_sample_draws_by_its_place_in_the_data_set():
    grad_fn = make_grad(full(), cross_entropy, preprocess=preprocess)
    params, rows = full().init(random.key(0)), batch(0)
    grads, _, _ = grad_fn(params, rows)
    shuffled, _, _ = grad_fn(params, take(rows, torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])))
    tree.assert_close(shuffled, grads, rtol=1e-4, atol=1e-5)
    elsewhere, _, _ = grad_fn(params, rows._replace(index=rows.index + 1))
    assert tree.first_difference(elsewhere, grads, rtol=0.1, atol=1e-3) is not None


def test_statistics_run_through_the_micro_batches_in_order():
    model = full()
    grad_fn = make_grad(model, cross_entropy, preprocess=preprocess)
    params, whole = model.init(random.key(0)), batch(0)
    halves = [take(whole, slice(start, start + 4)) for start in (0, 4)]
    _, first, _ = grad_fn(params, halves[0])
    _, second, _ = grad_fn(params._replace(stats=first), halves[1])
    _, stats, _ = accumulate(grad_fn, 2)(params, whole)
    tree.assert_equal(stats, second)


def test_micro_batches_must_divide_the_batch():
    grad_fn = accumulate(make_grad(plain(), cross_entropy, preprocess=preprocess), 3)
    with pytest.raises(ValueError, match="a batch of 8 cannot be split into 3"):
        grad_fn(plain().init(random.key(0)), batch(0))


def test_the_gradient_is_autograds():
    model = plain()
    params, rows = model.init(random.key(0)), batch(0)
    grads, _, _ = make_grad(model, cross_entropy, preprocess=preprocess)(params, rows)
    leaves = {k: v.clone().requires_grad_() for k, v in params.trainable.items()}
    logits, _ = model.apply(Params(leaves, params.stats), preprocess(rows.images))
    torch.nn.functional.cross_entropy(logits, rows.labels).backward()
    tree.assert_close(grads, {k: v.grad for k, v in leaves.items()}, rtol=1e-5, atol=1e-6)


def test_a_loss_of_the_batch_sees_it_as_the_network_does():
    model, seen = full(), []
    augment = compose(random_crop(1), random_flip())

    def look(logits, given):
        seen.append(given)
        return cross_entropy(logits, given.labels)

    params, rows = model.init(random.key(0)), batch(0)
    of_labels = make_grad(model, cross_entropy, preprocess=preprocess, augment=augment)
    of_batch = make_grad(model, batch_loss=look, preprocess=preprocess, augment=augment)
    tree.assert_equal(of_batch(params, rows), of_labels(params, rows))
    (given,) = seen
    _, augment_key, own_key = random.split(rows.key, 3)
    assert torch.equal(given.images, preprocess(augment(rows._replace(key=augment_key)).images))
    assert torch.equal(given.key, own_key)
    tree.assert_equal(given[1:2] + given[3:], rows[1:2] + rows[3:])
    make_grad(model, batch_loss=look, preprocess=preprocess, dtype=torch.bfloat16)(params, rows)
    assert seen[1].images.dtype == torch.bfloat16


def test_a_student_learns_from_a_teacher_compiled_and_mapped():
    teacher, student = plain(), full()
    taught = teacher.init(random.key(5))

    def distill(logits, given):
        hard = cross_entropy(logits, given.labels)
        soft = teacher.apply(taught, given.images)[0].softmax(-1)
        return 0.5 * hard + 0.5 * cross_entropy(logits, soft)

    grad_fn = make_grad(student, None, batch_loss=distill, preprocess=preprocess)
    params, rows = student.init(random.key(0)), batch(0)
    grads = grad_fn(params, rows)
    hard, _, _ = make_grad(student, cross_entropy, preprocess=preprocess)(params, rows)
    assert not tree.equal(grads[0], hard)
    tree.assert_close(traced(grad_fn)(params, rows), grads, rtol=1e-4, atol=1e-5)
    stacked = tree.map(lambda *leaves: torch.stack(leaves), (params, rows), (params, batch(1)))
    mapped = torch.func.vmap(grad_fn)(*stacked)
    tree.assert_close(tree.map(lambda leaf: leaf[0], mapped), grads, rtol=1e-4, atol=1e-5)
    whole = make_grad(teacher, batch_loss=distill, preprocess=preprocess)
    halves = accumulate(whole, 2)(taught, rows)
    tree.assert_close(halves, whole(taught, rows), rtol=1e-4, atol=1e-5)


def test_labels_that_an_augmentation_changes_count():
    def mix(rows):
        one_hot = torch.nn.functional.one_hot(rows.labels, 5).to(torch.float32)
        images = rows.images.to(torch.float32)
        return rows._replace(
            images=(images + images.flip(0)) / 2, labels=(one_hot + one_hot.flip(0)) / 2
        )

    model = plain()
    params, rows = model.init(random.key(0)), batch(0)
    mixed = make_grad(model, cross_entropy, preprocess=preprocess, augment=mix)(params, rows)
    direct = make_grad(model, cross_entropy, preprocess=preprocess)(params, mix(rows))
    tree.assert_equal(mixed, direct)


def test_wrong_losses_are_refused():
    with pytest.raises(ValueError, match=r"exactly one of loss.*got neither"):
        make_grad(plain(), preprocess=preprocess)
    with pytest.raises(ValueError, match="got both"):
        make_grad(plain(), cross_entropy, batch_loss=cross_entropy, preprocess=preprocess)
    grad_fn = make_grad(plain(), torch.nn.functional.cross_entropy, preprocess=preprocess)
    with pytest.raises(ValueError, match=r'shape \[8\].*shape \[\]: give it reduction="none"'):
        grad_fn(plain().init(random.key(0)), batch(0))


def test_bf16_stays_near_float32_and_leaves_the_weights_alone():
    model = full()
    params, rows = model.init(random.key(0)), batch(0)
    exact, _, _ = make_grad(model, cross_entropy, preprocess=preprocess)(params, rows)
    rough, _, _ = make_grad(model, cross_entropy, preprocess=preprocess, dtype=torch.bfloat16)(
        params, rows
    )
    assert all(leaf.dtype == torch.float32 for leaf in rough.values())
    difference = tree.map(torch.sub, rough, exact)
    assert 0 < optim.global_norm(difference) < 0.05 * optim.global_norm(exact)


def test_evaluation_counts_each_row_by_its_weight_and_draws_nothing():
    model = full()
    params, rows = model.init(random.key(0)), batch(0)
    eval_step = make_eval(model, cross_entropy, preprocess=preprocess)
    padded = rows._replace(weight=torch.tensor([1.0] * 5 + [0.0] * 3))
    short = take(rows, slice(5))
    got = metrics.means(eval_step(params, padded))
    assert got == pytest.approx(metrics.means(eval_step(params, short)), rel=1e-5)
    assert float(eval_step(params, padded)["count"]) == 5
