"""`apply_if_finite`: the inner transformation if all gradients are finite, else no change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import optim, tree

INNER = {
    "sgd": optim.sgd(0.1, momentum=0.9, weight_decay=0.1),
    "adam": optim.adam(optim.schedules.linear(0.1, 0.01, 5)),
    "muon": optim.muon(0.1),
    "partition": optim.partition(
        {"w": optim.adamw(0.1), "b": optim.sgd(0.1)}, lambda path, leaf: path
    ),
    "flatten": optim.flatten(optim.rmsprop(0.1)),
}
each_inner = pytest.mark.parametrize("name", INNER)
BAD = st.sampled_from([torch.nan, torch.inf, -torch.inf])


def make_grads(seed, bad=None):
    """Return random gradients; one value of one leaf is `bad`, if given."""
    generator = torch.Generator().manual_seed(seed)
    grads = {"w": torch.randn(3, 4, generator=generator)}
    if bad is not None:
        grads["w"][seed % 3, seed % 4] = bad
    return grads


def add_b(grads):
    return {**grads, "b": torch.ones(2)}


def run(tx, params, grads):
    """Return the params and the state after one update for each of `grads`."""
    state = tx.init(params)
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = optim.apply_updates(params, updates)
    return params, state


@each_inner
@settings(max_examples=20, deadline=None)
@given(bads=st.lists(st.none() | BAD, max_size=8))
def test_a_run_is_that_of_its_finite_gradients(name, bads):
    extra = add_b if name != "muon" else dict
    params = extra(make_grads(99))
    grads = [extra(make_grads(seed, bad)) for seed, bad in enumerate(bads)]
    fine = [grad for grad, bad in zip(grads, bads, strict=True) if bad is None]

    reached, state = run(optim.apply_if_finite(INNER[name]), params, grads)
    tree.assert_equal((reached, state.inner), run(INNER[name], params, fine))
    assert state.skipped.item() == len(grads) - len(fine)
    in_a_row = next((i for i, bad in enumerate(reversed(bads)) if bad is None), len(bads))
    assert state.consecutive.item() == in_a_row
    assert state.skipped.dtype == state.consecutive.dtype == torch.int64


def test_one_bad_leaf_stops_all_leaves():
    tx = optim.apply_if_finite(optim.sgd(0.1))
    params = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.bfloat16)}
    grads = {"a": torch.ones(2), "b": torch.tensor([1, torch.nan], dtype=torch.bfloat16)}
    updates, _ = tx.update(grads, tx.init(params), params)
    tree.assert_equal(updates, tree.map(torch.zeros_like, grads))


@pytest.mark.parametrize("limit", [0, 2])
def test_after_so_many_in_a_row_they_are_applied(limit):
    tx = optim.apply_if_finite(optim.sgd(0.1), max_consecutive_errors=limit)
    params = make_grads(0)
    bad = [make_grads(seed, torch.nan) for seed in range(limit)]
    reached, state = run(tx, params, [*bad, make_grads(5), *bad])
    assert tree.leaves(reached)[0].isfinite().all()
    assert (state.skipped.item(), state.consecutive.item()) == (2 * limit, limit)
    reached, state = run(tx, params, [*bad, make_grads(7, torch.nan)])
    assert not tree.leaves(reached)[0].isfinite().all()
    assert state.skipped.item() == limit


def test_each_of_several_models_is_judged_alone():
    tx = optim.apply_if_finite(optim.adam(0.1))
    params = [make_grads(seed) for seed in range(3)]
    grads = [make_grads(3), make_grads(4, torch.nan), make_grads(5)]
    stack = lambda *leaves: torch.stack(leaves)  # noqa: E731
    states = tree.map(stack, *map(tx.init, params))
    updates, states = torch.vmap(tx.update)(
        tree.map(stack, *grads), states, tree.map(stack, *params)
    )
    assert states.skipped.tolist() == [0, 1, 0]
    assert [bool(update.any()) for update in updates["w"]] == [True, False, True]


def test_hyper_parameters_are_those_of_the_inner_transformation():
    state = optim.apply_if_finite(optim.sgd(0.1)).init(make_grads(0))
    state = optim.set_hyper(state, "learning_rate", 0.05)
    assert optim.get_hyper(state, "learning_rate").item() == 0.05
