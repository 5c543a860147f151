"""Optimizers and schedules follow their peers in torch.optim step for step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler
from torch.testing import assert_close

from fnet import optim, tree
from fnet.optim import schedules

STEPS = 200
SHAPES = {"weight": (5, 2, 3), "bias": (3,)}


def problem(dtype: torch.dtype) -> tuple[dict[str, Tensor], Callable[[dict, int], dict]]:
    """Return params and the gradients of a quadratic bowl with noise, by params and step."""
    generator = torch.Generator().manual_seed(0)

    def randn() -> dict[str, Tensor]:
        return {k: torch.randn(s, generator=generator, dtype=dtype) for k, s in SHAPES.items()}

    start, goal, curvature = randn(), randn(), tree.map(torch.exp, randn())
    noise = [randn() for _ in range(STEPS)]

    def grads(params: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        return tree.map(lambda p, g, c, n: c * (p - g) + n, params, goal, curvature, noise[step])

    return start, grads


def distance(params: dict[str, Tensor], start: dict[str, Tensor]) -> Tensor:
    return torch.cat([(params[name] - start[name]).flatten() for name in SHAPES])


def ours(tx: optim.GradientTransformation, dtype: torch.dtype) -> Tensor:
    """Return how far the params are from their start after each step: [STEPS, elements]."""
    params, grads = problem(dtype)
    start, state, distances = params, tx.init(params), []
    for step in range(STEPS):
        updates, state = tx.update(grads(params, step), state, params)
        params = optim.apply_updates(params, updates)
        distances.append(distance(params, start))
    return torch.stack(distances)


def peers(
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    dtype: torch.dtype,
    scheduler: Callable | None = None,
    max_norm: float | None = None,
) -> Tensor:
    """Return the same for an optimizer of torch."""
    start, grads = problem(dtype)
    params = tree.map(torch.clone, start)
    optimizer = make(list(params.values()))
    schedule = scheduler(optimizer) if scheduler else None
    distances = []
    for step in range(STEPS):
        for name, grad in grads(params, step).items():
            params[name].grad = grad
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(params.values(), max_norm)
        optimizer.step()
        if schedule and step < STEPS - 1:
            schedule.step()
        distances.append(distance(params, start))
    return torch.stack(distances)


OPTIMIZERS = {
    "sgd": (optim.sgd, torch.optim.SGD),
    "adam": (optim.adam, torch.optim.Adam),
    "adamw": (optim.adamw, torch.optim.AdamW),
    "rmsprop": (optim.rmsprop, torch.optim.RMSprop),
    "adagrad": (optim.adagrad, torch.optim.Adagrad),
    "nadam": (optim.nadam, torch.optim.NAdam),
}
HYPERS = [
    ("sgd", {"learning_rate": 0.1}),
    ("sgd", {"learning_rate": 0.1, "weight_decay": 0.1}),
    ("sgd", {"learning_rate": 0.05, "momentum": 0.9}),
    ("sgd", {"learning_rate": 0.05, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("sgd", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam", {}),
    ("adam", {"learning_rate": 0.05, "b1": 0.8, "b2": 0.95, "eps": 1e-4}),
    ("adam", {"learning_rate": 0.05, "weight_decay": 0.1}),
    ("adam", {"learning_rate": 0.05, "b1": 0.0, "b2": 0.0}),
    ("adamw", {}),
    ("adamw", {"learning_rate": 0.05, "weight_decay": 0.5}),
    ("rmsprop", {}),
    ("rmsprop", {"learning_rate": 0.05, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("rmsprop", {"centered": True, "alpha": 0.9}),
    ("rmsprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("rmsprop", {"momentum": 0.5, "centered": True}),
    ("rmsprop", {"alpha": 0.0}),
    ("adagrad", {}),
    ("adagrad", {"learning_rate": 0.5, "eps": 1e-4, "weight_decay": 0.1}),
    ("adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 0.3}),
    ("nadam", {}),
    ("nadam", {"learning_rate": 0.05, "b1": 0.8, "b2": 0.95, "eps": 1e-4}),
    ("nadam", {"learning_rate": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1}),
]


def torch_names(hyper: dict) -> dict:
    renamed = {"lr": hyper["learning_rate"]} if "learning_rate" in hyper else {}
    renamed |= {"betas": (hyper["b1"], hyper["b2"])} if "b1" in hyper else {}
    return renamed | {k: v for k, v in hyper.items() if k not in ("learning_rate", "b1", "b2")}


@pytest.mark.parametrize(("name", "hyper"), HYPERS)
def test_follows_torch(name: str, hyper: dict) -> None:
    make, peer = OPTIMIZERS[name]
    theirs = peers(lambda p: peer(p, **torch_names(hyper)), torch.float64)
    # torch's NAdam keeps the product of its momenta in float32.
    tolerance = 1e-6 if name == "nadam" else 1e-11
    assert_close(ours(make(**hyper), torch.float64), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_follows_torch_in_float32(name: str) -> None:
    make, peer = OPTIMIZERS[name]
    hyper = {"weight_decay": 0.1} | ({"momentum": 0.9} if name in ("sgd", "rmsprop") else {})
    theirs = peers(lambda p: peer(p, lr=0.05, **hyper), torch.float32)
    assert_close(ours(make(0.05, **hyper), torch.float32), theirs, rtol=1e-5, atol=1e-5)


PEAK = 0.05
SCHEDULES = {
    "multi step": (
        schedules.piecewise(PEAK, {50: 0.1 * PEAK, 150: 0.01 * PEAK}),
        lambda o: lr_scheduler.MultiStepLR(o, [50, 150], 0.1),
    ),
    "constant": (schedules.constant(PEAK), lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0)),
    "linear": (
        schedules.linear(0.1 * PEAK, PEAK, 120),
        lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 120),
    ),
    "cosine": (
        schedules.cosine(PEAK, STEPS, end=0.01),
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.01),
    ),
    "one cycle": (
        schedules.one_cycle(PEAK, STEPS),
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, STEPS, cycle_momentum=False),
    ),
    "one cycle, linear": (
        schedules.one_cycle(PEAK, STEPS, 0.117, 10.0, 100.0, "linear"),
        lambda o: lr_scheduler.OneCycleLR(
            o, PEAK, STEPS, None, None, 0.117, "linear", False, div_factor=10, final_div_factor=100
        ),
    ),
    "one cycle, no rise": (
        schedules.one_cycle(PEAK, STEPS, 0.0),
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, STEPS, pct_start=0.0, cycle_momentum=False),
    ),
    "one cycle, no fall": (
        schedules.one_cycle(PEAK, STEPS, 1.0),
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, STEPS, pct_start=1.0, cycle_momentum=False),
    ),
    "polynomial": (
        schedules.polynomial_schedule(PEAK, 0.0, 2.5, 120),
        lambda o: lr_scheduler.PolynomialLR(o, 120, 2.5),
    ),
    "exponential": (
        schedules.exponential_decay(PEAK, 1, 0.97),
        lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    ),
    "step": (
        schedules.exponential_decay(PEAK, 30, 0.5, staircase=True),
        lambda o: lr_scheduler.StepLR(o, 30, 0.5),
    ),
    "warm-up, cosine": (
        schedules.join([schedules.linear(0.0005, PEAK, 20), schedules.cosine(PEAK, 180)], [20]),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.01, 1.0, 20), lr_scheduler.CosineAnnealingLR(o, 180)],
            [20],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_follows_torch(name: str) -> None:
    schedule, scheduler = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=PEAK)
    peer = scheduler(optimizer)
    for step in range(STEPS):
        value = schedule(torch.tensor(step))
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert value.item() == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimizer.step()
        if step < STEPS - 1:
            peer.step()


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize(
    ("name", "schedule"),
    [("sgd", "multi step"), ("adam", "one cycle"), ("adamw", "warm-up, cosine")],
)
def test_follows_torch_with_a_schedule(name: str, schedule: str) -> None:
    make, peer = OPTIMIZERS[name]
    mine, scheduler = SCHEDULES[schedule]
    theirs = peers(lambda p: peer(p, lr=PEAK), torch.float64, scheduler)
    assert_close(ours(make(mine), torch.float64), theirs, rtol=1e-8, atol=1e-12)


def test_momentum_follows_a_schedule_as_with_torch() -> None:
    theirs = peers(
        lambda p: torch.optim.Adam(p, lr=PEAK),
        torch.float64,
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, STEPS, anneal_strategy="linear"),
    )
    top = round(0.3 * STEPS) - 1
    falling, rising = schedules.linear(0.95, 0.85, top), schedules.linear(0.85, 0.95, 140)
    b1 = schedules.join([falling, rising], [top])
    tx = optim.adam(schedules.one_cycle(PEAK, STEPS, anneal="linear"), b1=b1)
    assert_close(ours(tx, torch.float64), theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("max_norm", [1.0, 10.0])
def test_clipping_follows_torch(max_norm: float) -> None:
    tx = optim.chain(optim.clip_by_global_norm(max_norm), optim.sgd(0.05, momentum=0.9))
    theirs = peers(
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), torch.float64, max_norm=max_norm
    )
    assert_close(ours(tx, torch.float64), theirs, rtol=1e-9, atol=1e-12)
