"""Laws of every gradient transformation, on random trees."""

import functools
from collections.abc import Callable

import pytest
import torch
from graphs import nothing_compiled, traced
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fnet import optim, tree
from fnet.optim import GradientTransformation, schedules
from fnet.testing import assert_pure

CURVE = schedules.one_cycle(0.1, 6, pct_start=0.5)

ELEMENTWISE = {
    "identity": optim.identity(),
    "set_to_zero": optim.set_to_zero(),
    "add_decayed_weights": optim.add_decayed_weights(0.1),
    "scale_by_learning_rate": optim.scale_by_learning_rate(CURVE),
    "clip_by_global_norm": optim.clip_by_global_norm(1.0),
    "trace": optim.trace(0.9, dampening=0.5),
    "scale_by_adam": optim.scale_by_adam(),
    "scale_by_rms": optim.scale_by_rms(),
    "sgd": optim.sgd(0.1),
    "sgd, nesterov": optim.sgd(CURVE, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": optim.adam(CURVE, b1=schedules.linear(0.5, 0.9, 3), weight_decay=0.1),
    "adamw": optim.adamw(0.1),
    "rmsprop": optim.rmsprop(CURVE, alpha=0.9, weight_decay=0.1),
    "rmsprop, centered": optim.rmsprop(0.1, momentum=0.9, centered=True),
    "chain": optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(CURVE)),
    "flatten": optim.flatten(optim.adam(CURVE, weight_decay=0.1)),
    "flatten of 2 leaves": optim.flatten(optim.adam(CURVE, weight_decay=0.1), min_leaves=2),
    "apply_if_finite": optim.apply_if_finite(optim.adam(CURVE, weight_decay=0.1)),
    "scale": optim.scale(-0.5),
    "scale_by_schedule": optim.scale_by_schedule(CURVE),
    "ema": optim.ema(0.9),
    "ema, biased": optim.ema(schedules.linear(0.5, 0.9, 3), debias=False),
    "ema_params": optim.chain(optim.sgd(0.1), optim.ema_params(0.9, start=2)),
    "swa_params": optim.chain(optim.adam(0.1), optim.swa_params(every=2)),
    "lookahead": optim.lookahead(optim.adam(CURVE), sync_period=2, slow_step_size=0.25),
    "lion": optim.lion(CURVE),
    "nadam": optim.nadam(CURVE, weight_decay=0.1),
    "adagrad": optim.adagrad(CURVE, weight_decay=0.1, initial_accumulator_value=0.1),
}
BY_LEAF = {
    "freeze": optim.chain(optim.sgd(0.1), optim.freeze(lambda path, leaf: "b" in path)),
    "muon": optim.partition(
        {"muon": optim.muon(CURVE, weight_decay=0.1), "adam": optim.adam(1e-3)},
        lambda path, leaf: "muon" if leaf.ndim >= 2 else "adam",
    ),
    "adaptive_grad_clip": optim.chain(optim.adaptive_grad_clip(0.1), optim.sgd(0.1)),
    "lamb": optim.lamb(CURVE, weight_decay=0.1),
}
TRANSFORMS = ELEMENTWISE | BY_LEAF
each_transform = pytest.mark.parametrize("name", TRANSFORMS)

shapes = st.lists(st.integers(1, 4), max_size=2).map(tuple) | st.sampled_from(
    [(4, 3, 3, 3), (2, 3, 1, 2), (5, 1, 3, 3)]
)
random_trees = st.fixed_dictionaries(
    {
        "shapes": st.dictionaries(st.sampled_from("abcde"), shapes, min_size=1, max_size=3),
        "dtype": st.sampled_from([torch.float32, torch.float64]),
        "channels_last": st.booleans(),
        "seed": st.integers(0, 2**16),
    }
)


CASE = {
    "shapes": {"a": (4, 3, 3, 3)},
    "dtype": torch.float32,
    "channels_last": True,
    "seed": 0,
}


def make_tree(case: dict, salt: int) -> dict[str, Tensor | tuple[Tensor]]:
    """Return a random tree; trees of one `case` only differ in their values, by `salt`."""
    generator = torch.Generator().manual_seed(case["seed"] * 10 + salt)

    def leaf(shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=case["dtype"])
        last = case["channels_last"] and values.ndim == 4
        return values.contiguous(memory_format=torch.channels_last) if last else values

    leaves = {name: leaf(shape) for name, shape in case["shapes"].items()}
    return {"layer": (leaves,), "z.bias": leaf((3,)), "none": None} if salt >= 0 else leaves


def steps(tx: GradientTransformation, params: dict, *grads: dict) -> tuple:
    """Return (params, state, updates) after one step for each of `grads`."""
    state, updates = tx.init(params), None
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = optim.apply_updates(params, updates)
    return params, state, updates


def make_args(case: dict) -> tuple[dict, dict, dict]:
    return make_tree(case, 0), make_tree(case, 1), make_tree(case, 2)


def assert_same(a: tree.Tree, b: tree.Tree, tolerance: float = 0.0) -> None:
    tree.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_same_layout(a: tree.Tree, b: tree.Tree) -> None:
    assert tree.first_layout_difference(a, b) is None


@each_transform
@settings(max_examples=12, deadline=None)
@given(case=random_trees)
@example(case=CASE)
def test_pure_deterministic_and_layout_preserving(name: str, case: dict) -> None:
    tx, args = TRANSFORMS[name], make_args(case)
    assert_pure(functools.partial(steps, tx), *args)
    params, state, updates = steps(tx, *args)
    assert_same_layout(params, args[0])
    assert_same_layout(updates, args[1])
    assert_same_layout(state, tx.init(args[0]))


@each_transform
@settings(max_examples=6, deadline=None)
@given(case=random_trees)
def test_the_order_of_leaves_does_not_matter(name: str, case: dict) -> None:
    tx, args = TRANSFORMS[name], make_args(case)

    def backwards(values: dict) -> dict:
        inner = values["layer"][0]
        return {**dict(reversed(values.items())), "layer": (dict(reversed(inner.items())),)}

    # Clipping sums over leaves in order, so another order gives other rounding errors.
    assert_same(steps(tx, *args), steps(tx, *map(backwards, args)), tolerance=1e-5)
    mixed = steps(tx, args[0], backwards(args[1]), args[2])
    assert_same(steps(tx, *args), mixed, tolerance=1e-5)


@each_transform
@settings(max_examples=5, deadline=None)
@given(case=random_trees)
def test_vmap_is_a_loop(name: str, case: dict) -> None:
    tx = TRANSFORMS[name]
    models = [tuple(make_tree(case | {"seed": s}, -t) for t in (1, 2, 3)) for s in (1, 2, 3)]
    stacked = tree.map(lambda *leaves: torch.stack(leaves), *models)
    together = torch.vmap(lambda *args: steps(tx, *args))(*stacked)
    for i, args in enumerate(models):
        one = tree.map(lambda leaf, i=i: leaf[i], together)
        assert_same(steps(tx, *args), one, tolerance=1e-5)


@pytest.mark.parametrize("name", ELEMENTWISE)
@settings(max_examples=6, deadline=None)
@given(case=random_trees)
def test_a_ravelled_tree_gives_ravelled_updates(name: str, case: dict) -> None:
    tx, args = ELEMENTWISE[name], make_args(case)

    ravelled = [tree.ravel(values, like=args[0])[0] for values in args]
    _, unravel = tree.ravel(args[0])
    params, _, updates = steps(tx, *args)
    ravelled_params, _, ravelled_updates = steps(tx, *ravelled)
    assert_same(params, unravel(ravelled_params), tolerance=1e-5)
    assert_same(updates, unravel(ravelled_updates), tolerance=1e-5)


def check_compiled(tx: GradientTransformation, compiler: str | None = None) -> None:
    """Compare `update` with its compiled form, with changing counts and hyper-parameters."""
    params, *grads = make_args(CASE)
    compiled = traced(tx.update, compiler)
    state = tx.init(params)
    compiled(grads[0], state, params)
    with nothing_compiled():
        for grad in grads:
            for hyper in ("weight_decay", "lr_scale"):
                if hyper in optim.hypers(state):
                    state = optim.set_hyper(state, hyper, 0.5)
            expected = tx.update(grad, state, params)
            updates, state = compiled(grad, state, params)
            assert_same(expected, (updates, state), tolerance=1e-5)
            assert_same_layout((updates, state), expected)
            params = optim.apply_updates(params, updates)


@pytest.mark.parametrize("name", ["chain", "muon", "apply_if_finite", "nadam", "lookahead"])
def test_compiled_is_eager(name: str) -> None:
    check_compiled(TRANSFORMS[name])


def test_compiled_with_inductor_is_eager() -> None:
    check_compiled(TRANSFORMS["sgd, nesterov"], "inductor")


def test_float16_and_bfloat16_leaves_keep_their_dtype() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        args = [{"w": torch.full((3, 2), 0.5, dtype=dtype)} for _ in range(3)]
        for name, tx in TRANSFORMS.items():
            params, _, updates = steps(tx, *args)
            assert params["w"].dtype == updates["w"].dtype == dtype, name
            assert torch.isfinite(params["w"]).all(), name


def test_a_tree_without_leaves_is_fine() -> None:
    for tx in TRANSFORMS.values():
        params, _, updates = steps(tx, {}, {})
        assert params == updates == {}


def test_apply_updates_keeps_the_dtype_of_the_params() -> None:
    params = {"w": torch.ones(2, dtype=torch.bfloat16)}
    updated = optim.apply_updates(params, {"w": torch.ones(2)})
    tree.assert_equal(updated, {"w": torch.full((2,), 2.0, dtype=torch.bfloat16)})


def test_chain_applies_in_order() -> None:
    double = optim.stateless(lambda grads, params: tree.map(lambda g: 2 * g, grads))
    minus: Callable = optim.stateless(lambda grads, params: tree.map(torch.sub, grads, params))
    tx = optim.chain(double, minus)
    params = {"w": torch.tensor([1.0])}
    updates, _ = tx.update({"w": torch.tensor([5.0])}, tx.init(params), params)
    assert updates["w"].item() == 9.0


def test_chain_refuses_the_state_of_another() -> None:
    params = {"w": torch.zeros(2)}
    state = optim.sgd(0.1).init(params)
    with pytest.raises(ValueError, match="3 transformations, but its state has 2"):
        optim.adam().update(params, state, params)


def test_frozen_leaves_stay() -> None:
    params, *grads = make_args(CASE)
    after, _, _ = steps(BY_LEAF["freeze"], params, *grads)
    moved = {
        path
        for path, leaf in tree.flatten_with_path(tree.map(torch.ne, params, after))
        if leaf.any()
    }
    assert moved == {"layer/0/a"}


@pytest.mark.parametrize("momentum", [{"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.1}])
def test_sgd_refuses_nesterov_as_torch_does(momentum: dict) -> None:
    with pytest.raises(ValueError, match="nesterov needs"):
        optim.sgd(0.1, nesterov=True, **momentum)


@pytest.mark.parametrize(
    ("make", "decays"),
    [
        (optim.adam, {"b1": 1.0}),
        (optim.adam, {"b2": 1.5}),
        (optim.rmsprop, {"alpha": 1.0}),
        (optim.ema, {"decay": 1.0}),
        (optim.ema_params, {"decay": 1.0}),
        (optim.scale_by_lion, {"b2": 1.0}),
        (optim.nadam, {"b1": 1.0}),
        (optim.scale_by_lion, {"b1": 1.0}),
        (optim.lamb, {"learning_rate": 0.1, "b2": 1.0}),
    ],
)
def test_decays_of_one_and_more_are_refused(make: Callable, decays: dict) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\); got"):
        make(**decays)


def test_centered_rmsprop_is_finite_where_torch_is_not() -> None:
    grad = torch.linspace(0.1, 1, 100)
    peer, params = torch.zeros(100, requires_grad=True), {"w": torch.zeros(100)}
    peer.grad = grad
    optimizer = torch.optim.RMSprop([peer], alpha=0.5, centered=True)
    for _ in range(60):
        optimizer.step()
    params, _, _ = steps(optim.rmsprop(alpha=0.5, centered=True), params, *[{"w": grad}] * 60)
    assert not torch.isfinite(peer).all()
    assert torch.isfinite(params["w"]).all()
