"""Transformations and schedules under optax's names follow optax, on random trees."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fnet import optim
from fnet.optim import schedules

STEPS = 100
LR = 0.05

trees = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.integers(2, 4), max_size=2).map(tuple) | st.just((2, 3, 2, 2)),
    min_size=1,
    max_size=3,
)
seeds = st.integers(0, 2**16)


def problem(shapes: dict[str, tuple[int, ...]], seed: int) -> tuple[dict, Callable]:
    """Return params and the gradients of a quadratic bowl with noise, by params and step.

    They are numpy arrays, for `p - goal` and so on to be the same numbers in both libraries.
    """
    generator = np.random.default_rng(seed)

    def randn() -> dict[str, np.ndarray]:
        return {name: generator.standard_normal(shape) for name, shape in shapes.items()}

    start, goal, noise = randn(), randn(), [randn() for _ in range(STEPS)]

    def grads(params: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {name: params[name] - goal[name] + noise[step][name] for name in shapes}

    return start, grads


def ours(tx: optim.GradientTransformation, start: dict, grads: Callable) -> list[dict]:
    """Return how far the params are from their start after each step."""
    params: dict[str, Tensor] = {name: torch.from_numpy(leaf) for name, leaf in start.items()}
    state, way = tx.init(params), []
    for step in range(STEPS):
        grad = grads({name: leaf.numpy() for name, leaf in params.items()}, step)
        grad = {name: torch.from_numpy(np.asarray(leaf)) for name, leaf in grad.items()}
        updates, state = tx.update(grad, state, params)
        params = optim.apply_updates(params, updates)
        way.append({name: params[name].numpy() - start[name] for name in start})
    return way


def theirs(
    tx: Any, start: dict, grads: Callable, wrap: Callable | None = None, axes: bool = False
) -> list[dict]:
    """Return the same of a transformation of optax.

    Args:
        wrap: makes what optax takes as params; its attribute `fast` are the params.
        axes: whether optax is to see each leaf with its first axis last.
    """

    def there(leaf: np.ndarray) -> np.ndarray:
        return np.moveaxis(leaf, 0, -1) if axes and leaf.ndim > 1 else leaf

    def back(leaf: np.ndarray) -> np.ndarray:
        return np.moveaxis(leaf, -1, 0) if axes and leaf.ndim > 1 else leaf

    with jax.enable_x64(True):
        params = jax.tree.map(there, start)
        params = params if wrap is None else wrap(params)
        state, update, way = tx.init(params), jax.jit(tx.update), []
        for step in range(STEPS):
            plain = params if wrap is None else params.fast
            plain = jax.tree.map(lambda leaf: back(np.asarray(leaf)), plain)
            updates, state = update(jax.tree.map(there, grads(plain, step)), state, params)
            params = optax.apply_updates(params, updates)
            plain = params if wrap is None else params.fast
            way.append({name: back(np.asarray(plain[name])) - start[name] for name in start})
    return way


def assert_same_way(mine: list[dict], peer: list[dict], tolerance: float = 1e-9) -> None:
    for step, (a, b) in enumerate(zip(mine, peer, strict=True)):
        for name in a:
            np.testing.assert_allclose(
                a[name], b[name], tolerance, tolerance, err_msg=f"{name}, step {step}"
            )


CURVE = schedules.exponential_decay(LR, 20, 0.5, 10)


def optax_curve(count: jax.Array) -> jax.Array:
    """As `optax.exponential_decay(LR, 20, 0.5, 10)`, which gives LR in float32."""
    return LR * 0.5 ** ((count - 10).clip(0).astype(np.float64) / 20)


PAIRS = {
    "scale": (optim.scale(-LR), optax.scale(-LR)),
    "scale_by_schedule": (
        optim.chain(optim.scale_by_schedule(CURVE), optim.scale(-1.0)),
        optax.chain(optax.scale_by_schedule(optax_curve), optax.scale(-1.0)),
    ),
    "ema": (
        optim.chain(optim.ema(0.9), optim.scale(-LR)),
        optax.chain(optax.ema(0.9), optax.scale(-LR)),
    ),
    "ema, biased": (
        optim.chain(optim.ema(0.9, debias=False), optim.scale(-LR)),
        optax.chain(optax.ema(0.9, debias=False), optax.scale(-LR)),
    ),
    "lion": (optim.lion(LR), optax.lion(LR)),
    "lion, all given": (
        optim.lion(CURVE, 0.8, 0.95, weight_decay=0.1),
        optax.lion(optax_curve, 0.8, 0.95, weight_decay=0.1),
    ),
    "lamb": (optim.lamb(LR), optax.lamb(LR)),
    "lamb, all given": (
        optim.lamb(CURVE, 0.8, 0.95, 1e-4, weight_decay=0.1),
        optax.lamb(optax_curve, 0.8, 0.95, 1e-4, weight_decay=0.1),
    ),
    "scale_by_trust_ratio": (
        optim.chain(optim.scale_by_trust_ratio(0.5, 0.3, 0.01), optim.scale(-LR)),
        optax.chain(optax.scale_by_trust_ratio(0.5, 0.3, 0.01), optax.scale(-LR)),
    ),
    "adamw, with optax's decay": (optim.adamw(LR, weight_decay=1e-4), optax.adamw(LR)),
    "adagrad, with optax's sums and eps outside the root": (
        optim.adagrad(LR, eps=0.0, initial_accumulator_value=0.1),
        optax.adagrad(LR, eps=0.0),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=2, deadline=None)
@given(shapes=trees, seed=seeds)
def test_follows_optax(name: str, shapes: dict, seed: int) -> None:
    mine, peer = PAIRS[name]
    start, grads = problem(shapes, seed)
    assert_same_way(ours(mine, start, grads), theirs(peer, start, grads))


@settings(max_examples=2, deadline=None)
@given(shapes=trees, seed=seeds, period=st.integers(1, 7))
def test_lookahead_follows_optax(shapes: dict, seed: int, period: int) -> None:
    start, grads = problem(shapes, seed)
    mine = optim.lookahead(optim.sgd(LR, momentum=0.9), period, 0.3)
    peer = optax.lookahead(optax.sgd(LR, momentum=0.9), period, 0.3)
    wrapped = theirs(peer, start, grads, wrap=optax.LookaheadParams.init_synced)
    assert_same_way(ours(mine, start, grads), wrapped)


@settings(max_examples=3, deadline=None)
@given(shapes=trees, seed=seeds, clipping=st.sampled_from([0.01, 0.5, 100.0]))
def test_adaptive_clipping_follows_optax(shapes: dict, seed: int, clipping: float) -> None:
    start, grads = problem(shapes, seed)
    start["a"] = np.zeros_like(start.get("a", np.zeros(3)))
    start = {name: start[name] for name in shapes}
    mine = optim.chain(optim.adaptive_grad_clip(clipping, 0.1), optim.scale(-LR))
    peer = optax.chain(optax.adaptive_grad_clip(clipping, 0.1), optax.scale(-LR))
    assert_same_way(ours(mine, start, grads), theirs(peer, start, grads, axes=True))


SCHEDULES = {
    "warmup_cosine": ("warmup_cosine_decay_schedule", (0.01, 0.1, 10, 80)),
    "warmup_cosine, all given": ("warmup_cosine_decay_schedule", (0.0, 0.1, 20, 70, 0.01, 2.0)),
    "warmup_cosine, no warm-up": ("warmup_cosine_decay_schedule", (0.0, 0.1, 0, 70)),
    "exponential": ("exponential_decay", (0.1, 30, 0.5)),
    "exponential, begun later": ("exponential_decay", (0.1, 30, 0.5, 13)),
    "exponential, staircase": ("exponential_decay", (0.1, 30, 0.5, 13, True, 0.03)),
    "exponential, growing": ("exponential_decay", (0.1, 30, 1.5, 0, False, 0.3)),
    "polynomial": ("polynomial_schedule", (0.1, 0.01, 2, 60)),
    "polynomial, begun later": ("polynomial_schedule", (0.1, 0.01, 0.5, 60, 17)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_follows_optax(name: str) -> None:
    function, args = SCHEDULES[name]
    assert getattr(optim, function) is getattr(schedules, function)
    mine = getattr(schedules, function)(*args)(torch.arange(STEPS))
    with jax.enable_x64(True):
        wave = getattr(optax, function)(*args)
        peer = torch.tensor([float(wave(step)) for step in range(STEPS)], dtype=torch.float64)
    assert_close(mine, peer, rtol=1e-6, atol=1e-9)


def test_what_the_docstrings_say_of_optaxs_defaults() -> None:
    start, tiny = {"w": np.array([2.0])}, {"w": np.array([1e-3])}
    with jax.enable_x64(True):

        def first(tx: optax.GradientTransformation, grads: dict) -> float:
            return float(tx.update(grads, tx.init(start), start)[0]["w"][0])

        assert first(optax.adamw(0.1), {"w": np.zeros(1)}) == pytest.approx(-0.1 * 1e-4 * 2)
        root = (0.1 * 1e-6 + 1e-2) ** 0.5  # decay 0.9, eps inside
        assert first(optax.rmsprop(0.1, eps=1e-2), tiny) == pytest.approx(-0.1 * 1e-3 / root)
        root = (0.1 + 1e-6 + 1e-7) ** 0.5  # the sum begins at 0.1, eps inside
        assert first(optax.adagrad(0.1), tiny) == pytest.approx(-0.1 * 1e-3 / root)
        cosine = optax.cosine_onecycle_schedule(100, 1.0)
        assert [float(cosine(step)) for step in (30, 100)] == pytest.approx([1.0, 4e-6])
        bent = optax.linear_onecycle_schedule(100, 1.0)
        assert [float(bent(step)) for step in (30, 85, 100)] == pytest.approx([1.0, 0.04, 4e-6])
    mine = schedules.one_cycle(1.0, 100)(torch.tensor([29, 99])).tolist()
    assert mine == pytest.approx([1.0, 4e-6])
    weights = {"w": torch.zeros(1)}
    assert optim.get_hyper(optim.adamw(0.1).init(weights), "weight_decay") == 0.01
    assert optim.get_hyper(optim.rmsprop(0.1).init(weights), "alpha") == 0.99
