"""Schedules at their ends, on whole curves, and with the wrong arguments."""

import pytest
import torch
from graphs import nothing_compiled, traced
from torch.testing import assert_close

from fnet.optim import Schedule, schedules

SCHEDULES = {
    "constant": schedules.constant(0.1),
    "piecewise": schedules.piecewise(0.1, {7: 0.01, 3: 0.05}),
    "linear": schedules.linear(0.1, 0.5, 6),
    "cosine": schedules.cosine(0.1, 6, 0.01),
    "one_cycle": schedules.one_cycle(0.1, 10),
    "join": schedules.join([schedules.linear(0.0, 0.1, 3), schedules.cosine(0.1, 5)], [3]),
    "warmup_cosine": schedules.warmup_cosine_decay_schedule(0.01, 0.1, 3, 9, 0.02, 0.5),
    "exponential": schedules.exponential_decay(0.1, 2, 0.5, 1, end_value=0.03),
    "polynomial": schedules.polynomial_schedule(0.1, 0.01, 0.5, 6, 2),
}
LAST = {
    "constant": 0.1,
    "piecewise": 0.01,
    "linear": 0.5,
    "cosine": 0.01,
    "one_cycle": 4e-7,
    "warmup_cosine": 0.02,
    "exponential": 0.03,
    "polynomial": 0.01,
}
each_schedule = pytest.mark.parametrize("name", SCHEDULES)


@each_schedule
def test_a_whole_curve_is_its_points(name: str) -> None:
    schedule, counts = SCHEDULES[name], torch.arange(12)
    points = torch.stack([schedule(count) for count in counts])
    assert points.dtype == torch.float64
    # Cosines of vectors and of single numbers are rounded differently.
    assert_close(schedule(counts), points, rtol=1e-12, atol=1e-16)
    assert_close(torch.vmap(schedule)(counts), points, rtol=1e-12, atol=1e-16)


@each_schedule
def test_the_last_value_stays(name: str) -> None:
    assert SCHEDULES[name](torch.tensor(10**6)).item() == pytest.approx(LAST.get(name, 0.0))


def test_compiles_once() -> None:
    def all_of_them(count: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: schedule(count) for name, schedule in SCHEDULES.items()}

    compiled = traced(all_of_them)
    compiled(torch.tensor(0))
    with nothing_compiled():
        for count in torch.arange(12):
            assert_close(compiled(count), all_of_them(count), rtol=1e-12, atol=1e-16)


def test_join_counts_from_the_start_of_each() -> None:
    def double(count: torch.Tensor) -> torch.Tensor:
        assert (count >= 0).all()
        return 2.0 * count.to(torch.float64)

    curve: Schedule = schedules.join([double, double, double], [2, 5])
    assert curve(torch.arange(7)).tolist() == [0.0, 2.0, 0.0, 2.0, 4.0, 0.0, 2.0]


def test_wrong_arguments_are_refused() -> None:
    flat = schedules.constant(1.0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        schedules.cosine(0.1, 0)
    with pytest.raises(ValueError, match="at least 1; got -3"):
        schedules.linear(0.1, 0.0, -3)
    with pytest.raises(ValueError, match="2 schedules meet at 1 boundaries; got 0"):
        schedules.join([flat, flat], [])
    with pytest.raises(ValueError, match="positive and increasing"):
        schedules.join([flat, flat, flat], [5, 5])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        schedules.one_cycle(0.1, 10, pct_start=30)
    with pytest.raises(ValueError, match='"cos" or "linear"'):
        schedules.one_cycle(0.1, 10, anneal="cosine")
    with pytest.raises(ValueError, match="warmup_steps=5, decay_steps=5"):
        schedules.warmup_cosine_decay_schedule(0.0, 0.1, 5, 5)
    with pytest.raises(ValueError, match="factor above 0; got 0"):
        schedules.exponential_decay(0.1, 10, 0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        schedules.exponential_decay(0.1, 0, 0.5)
    with pytest.raises(ValueError, match="0 or more; got -1"):
        schedules.polynomial_schedule(0.1, 0.0, 1, 10, -1)
