import pytest
import torch
from records import read_lines

from fnet import optim, random
from fnet.data import NORM_HALF
from fnet.losses import cross_entropy
from fnet.models import net
from fnet.run.learning_rate import effective_rate
from fnet.run.opened import open_run
from fnet.run.rate_curve import rate_curve, scheduled_rates
from fnet.run.recipe import Experiment
from fnet.run.record import read_run
from fnet.run.schema import Line

RATE = optim.schedules.one_cycle(0.5, 12, anneal="linear")


def experiment(tx, **options):
    return Experiment(net(), tx, cross_entropy, NORM_HALF, **options)


def line(epoch, rate, steps=4):
    return Line(
        epoch=epoch,
        step=epoch * steps,
        train_loss=1.0,
        train_accuracy=0.5,
        test_loss=1.0,
        test_accuracy=0.5,
        learning_rate=rate,
        seconds=1.0,
        images_per_second=1.0,
    )


def partitioned():
    parts = {"muon": optim.muon(RATE), "adam": optim.adam(optim.schedules.constant(0.1))}
    return optim.partition(parts, lambda path, leaf: "muon" if leaf.dim() == 4 else "adam")


@pytest.mark.parametrize(
    "tx",
    [
        optim.sgd(RATE, momentum=0.9),
        optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(RATE)),
        optim.flatten(optim.sgd(RATE, momentum=0.9)),
        optim.apply_if_finite(optim.adam(RATE)),
        partitioned(),
        optim.sgd(0.25),
    ],
    ids=["sgd", "adamw", "flat", "if finite", "parts", "constant"],
)
def test_the_rates_are_those_of_the_updates_one_by_one(tx):
    trained = experiment(tx)
    params = trained.model.init(random.key(1)).trainable
    state, rates = tx.init(params), []
    for _ in range(12):
        _, state = tx.update(params, state, params)
        rates.append(effective_rate(state, trained.learning_rate))
    assert scheduled_rates(trained, torch.arange(12)).tolist() == pytest.approx(rates, rel=1e-12)


def test_a_curve_has_the_rate_of_each_step():
    rates = [RATE(torch.tensor(step)).item() for step in range(12)]
    lines = [line(epoch, rates[4 * epoch - 1]) for epoch in (1, 2, 3)]
    points = rate_curve(experiment(optim.sgd(RATE)), lines)
    assert [epoch for epoch, _ in points] == [step / 4 for step in range(12)]
    assert [rate for _, rate in points] == pytest.approx(rates)
    assert points[0][1] < lines[0].learning_rate / 10


def test_a_plateau_scales_whole_epochs():
    lines = [line(1, 0.1), line(2, 0.1), line(3, 0.05)]
    points = rate_curve(experiment(optim.sgd(0.1), plateau=optim.plateau(0.1)), lines)
    assert [rate for _, rate in points] == pytest.approx([0.1] * 8 + [0.05] * 4)


def test_a_long_run_has_few_points_and_its_peak():
    rate = optim.schedules.one_cycle(0.5, 100_000)
    rates = rate(torch.arange(100_000))
    lines = [line(epoch, rates[10_000 * epoch - 1].item(), 10_000) for epoch in range(1, 11)]
    points = rate_curve(experiment(optim.sgd(rate)), lines)
    assert len(points) < 1100
    assert max(rate for _, rate in points) == pytest.approx(0.5, rel=1e-3)


def fails(grads, state, params):
    raise RuntimeError("not for vmap")


@pytest.mark.parametrize(
    ("tx", "lines"),
    [
        (optim.sgd(0.1), []),
        (optim.sgd(0.1), [line(2, 0.1)]),
        (optim.sgd(0.1), [line(1, 0.1), line(3, 0.1)]),
        (optim.sgd(0.1)._replace(update=fails), [line(1, 0.1)]),
    ],
    ids=["no epoch", "the first is lost", "one is lost", "another optimizer"],
)
def test_without_the_steps_there_is_no_curve(tx, lines):
    assert rate_curve(experiment(tx), lines) == []


def test_a_recorded_run_ends_each_epoch_at_the_recorded_rate(trained_run):
    run = open_run(trained_run, "final")
    points = rate_curve(run.experiment, read_run(trained_run).lines)
    (recorded,) = read_lines(trained_run / "metrics.jsonl")
    assert len(points) == recorded["step"]
    assert points[-1][1] == pytest.approx(recorded["learning_rate"])
