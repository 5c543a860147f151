"""Figures of timings: disturbances, medians, ratios, tables."""

import json

import pytest
from contenders import work
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recipes.bench.calibrate import gemm
from recipes.bench.contender import Sample
from recipes.bench.figures import figures, ratio
from recipes.bench.meter import ATTEMPTS, Meter, Timing
from recipes.bench.race import Entry
from recipes.bench.record import record
from recipes.bench.tables import MARK, caption, markdown, row_table

CALM = {"fp32": 100.0}
rates = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=7)


def timings(*rates, gflops=CALM):
    return [Timing(images=4, seconds=4 / rate, before=gflops, after=gflops) for rate in rates]


def meter_of(*gflops):
    """Return a meter whose calibrations are these."""
    found = iter(gflops)
    return Meter(lambda: {"fp32": float(next(found))})


def calm_meter():
    meter = meter_of(100, 100)
    meter.take(lambda: Sample(1, 1.0, 0))
    return meter


def test_calibration_is_sane():
    found = gemm("cpu", ("fp32",), size=128, seconds=0.01)
    assert found.keys() == {"fp32"}
    assert 0.01 < found["fp32"] < 1e6


@pytest.mark.parametrize(
    ("gflops", "attempts"),
    [
        ([100, 100], 1),
        ([100, 86], 1),
        ([100, 84, 100, 100], 2),
        ([84, 100, 84, 100, 84, 100], ATTEMPTS),
    ],
)
def test_a_disturbed_timing_is_repeated(gflops, attempts):
    meter = meter_of(*gflops)
    samples = [Sample(n, 1.0, 0) for n in range(1, 9)]
    taken = meter.take(iter(samples).__next__)
    assert [timing.images for timing in taken] == list(range(1, attempts + 1))
    assert meter.best == CALM
    assert meter.worst == {"fp32": min(gflops)}


def test_a_better_calibration_later_shows_what_was_disturbed():
    meter = meter_of(100, 100, 200, 200)
    (before,), (after,) = (meter.take(lambda: Sample(1, 1.0, 0)) for _ in range(2))
    assert before.disturbed(meter.best)
    assert not after.disturbed(meter.best)
    assert figures([before, after], meter.best).disturbed == 1


@given(rates)
def test_the_median_lies_between_low_and_high(rates):
    found = figures(timings(*rates), CALM)
    assert found.low <= found.median <= found.high
    assert found.low == pytest.approx(min(rates))
    assert found.disturbed == 0


@given(rates, st.floats(0.5, 4.0))
def test_a_ratio_does_not_change_with_a_machine_that_does(rates, factor):
    ours = timings(*(factor * rate for rate in rates))
    assert ratio(ours, timings(*rates)) == pytest.approx(factor)


def test_what_was_not_measured_has_no_figure():
    assert figures([], CALM) is None
    assert ratio([], timings(1.0)) is None
    assert ratio(timings(3.0, 5.0), timings(1.0)) == pytest.approx(3.0)


@pytest.fixture
def entries():
    def rounds(*rates, **gflops):
        return [[timing] for timing in timings(*rates, **gflops)]

    return {
        "fnet": Entry(
            "fp32", 61.0, 300 * 2**20, {"train": rounds(99, 200, 301), "eval": rounds(800)}
        ),
        "eager": Entry("2 workers", 4.0, 2**30, {"train": rounds(50, 100, 150)}),
        "jax": Entry("", None, 0, {}, "RuntimeError: [no] GPU"),
        "memory": Entry("fp32", 4.0, 2**30, {"train": rounds(400.0, gflops={"fp32": 80.0})}),
    }


def test_the_table_shows_all(entries):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(row_table(work(), entries, CALM))
    lines = [line.strip() for line in capture.get().splitlines()]
    assert lines[0] == "net, batches of 4"
    cells = {line.split("  ")[0]: line.split()[1:] for line in lines}
    assert cells["fnet"] == ["200", "99.0", "to", "301", "300", "MB", "61.0", "s"]
    assert " ".join(cells["eager"]) == "100 50.0 to 150 2.00 × 1,024 MB 4.0 s"
    assert " ".join(cells["fnet, evaluation"]) == "evaluation 800 800 to 800"
    assert cells["jax"] == ["-"]
    assert cells["memory"][:2] == ["400", MARK]
    assert "fnet: fp32; evaluates 8.1 times as fast as it trains" in lines
    assert "eager: 2 workers" in lines
    assert "jax: failed: RuntimeError: [no] GPU" in lines
    assert "memory: fp32; disturbed in 1 of 1 rounds" in lines


def test_markdown(entries):
    lines = markdown({work(): entries}, CALM).splitlines()
    assert lines[0] == "| network, batch | fnet | its evaluation | eager | jax | memory |"
    assert lines[2] == (
        f"| net, 4 | 200 (99.0 to 301) | 800 | 100 (2.00 ×) | - | 400 {MARK} (0.25 ×) |"
    )
    assert len(lines) == 3


def test_the_record_has_every_timing(entries):
    whole = json.loads(json.dumps(record({work("/tmp/gone"): entries}, calm_meter())))
    (found,) = whole["rows"]
    assert whole["gflops"] == {"best": CALM, "worst": CALM}
    assert "/tmp/gone" not in json.dumps(found)
    assert found["optimizer"]["momentum"] == 0.9
    eager = found["contenders"]["eager"]
    assert eager["fnet_is_faster"] == pytest.approx(2.0)
    assert eager["images_per_second"]["train"]["median"] == pytest.approx(100)
    assert [len(attempts) for attempts in eager["attempts"]["train"]] == [1, 1, 1]
    assert found["contenders"]["jax"]["error"] == "RuntimeError: [no] GPU"


def test_the_caption_tells_the_range_of_matrix_products():
    meter = meter_of(248, 107, 107, 107, 107, 107)
    meter.take(lambda: Sample(1, 1.0, 0))
    assert "107 to 248 GFLOP/s in fp32" in caption(meter)
