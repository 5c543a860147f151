"""What a run tells its loggers, and when the figures are read from the device."""

import pytest
import torch

from fnet import metrics
from fnet.loop import Record
from fnet.nn import Params
from fnet.run import log
from fnet.run.log import RunLog
from fnet.show.loggers import compose

STEPS = 5
"""Of an epoch."""


class Told:
    """A logger that keeps what it is told."""

    def __init__(self, name="", calls=None):
        self.name, self.calls = name, [] if calls is None else calls

    def start(self, start):
        self.calls.append((self.name, "start"))

    def step(self, step, figures):
        self.calls.append((self.name, "step", step, figures["loss"]))

    def epoch(self, line):
        self.calls.append((self.name, "epoch", line["epoch"]))

    def close(self):
        self.calls.append((self.name, "close"))


def run(log, epochs=2, done=0):
    """The loss of step n is n, for each of 4 images; some of the steps were done before."""
    total = {}
    for step in range(1, epochs * STEPS + 1):
        if step == done + 1:
            log.start(None, total)
        sums = {"loss": 4.0 * step, "correct": 2.0, "count": 4.0}
        sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()}
        total = metrics.add(total, sums) if total else sums
        epoch, epoch_done = (step - 1) // STEPS, step % STEPS == 0
        if step > done:
            log.step(Record(step, epoch, epoch_done, Params({}, {}), None, total))
            if epoch_done:
                log.epoch({"epoch": epoch + 1})
        if epoch_done:
            total = {}
    log.close()


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (0, []),
        (1, [(n, n) for n in range(1, 11)]),
        # Means since the last step told of, or since the epoch's start.
        (2, [(2, 1.5), (4, 3.5), (6, 6.0), (8, 7.5), (10, 9.5)]),
        (5, [(5, 3.0), (10, 8.0)]),
        (7, [(7, 6.5)]),
        (11, []),
    ],
)
def test_the_figures_of_steps(every, expected):
    told = Told()
    run(RunLog(told, every))
    assert [call[2:] for call in told.calls if call[1] == "step"] == expected


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (2, [(4, 3.5), (6, 6.0), (8, 7.5), (10, 9.5)]),
        # What came before in this epoch is not in the first figure.
        (3, [(4, 4.0), (6, 6.0), (8, 7.5), (10, 9.5)]),
        (5, [(6, 6.0), (8, 7.5), (10, 9.5)]),
        (7, [(8, 8.0), (10, 9.5)]),
    ],
)
def test_the_figures_of_steps_of_a_run_that_goes_on(done, expected):
    told = Told()
    run(RunLog(told, 2), done=done)
    assert [call[2:] for call in told.calls if call[1] == "step"] == expected


def test_an_epoch_that_only_lacks_its_line_leaves_nothing_to_the_next():
    told = Told()
    log = RunLog(told, 1)
    sums = {name: torch.tensor(8.0, dtype=torch.float64) for name in ("loss", "count")}
    log.start(None, sums)
    log.epoch({"epoch": 1})
    log.step(Record(STEPS + 1, 1, False, Params({}, {}), None, sums))
    log.close()
    assert ("", "step", STEPS + 1, 1.0) in told.calls


def test_steps_come_before_their_epoch():
    told = Told()
    run(RunLog(told, 5))
    assert [call[1] for call in told.calls] == ["start", "step", "epoch", "step", "epoch", "close"]


@pytest.mark.parametrize(("every", "reads"), [(0, 0), (2, 5)])
def test_nothing_is_read_that_nobody_asked_for(monkeypatch, every, reads):
    count = []
    monkeypatch.setattr(metrics, "means", lambda sums: count.append(1) or {"loss": 0.0})
    run(RunLog(Told(), every))
    assert len(count) == reads


def test_reading_waits_for_a_batch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    told = Told()
    run_log = RunLog(told, 1)
    sums = {name: torch.ones(()) for name in ("loss", "count")}
    for step, second in enumerate([0.1, 0.2, 1.1, 1.2], 1):
        now[0] = second
        run_log.step(Record(step, 0, False, Params({}, {}), None, sums))
        assert len(told.calls) == (0 if step < 3 else 3)
    run_log.close()
    assert [call[1] for call in told.calls] == ["step"] * 4 + ["close"]


def test_composed_loggers_are_told_in_turn():
    calls = []
    run(RunLog(compose(Told("a", calls), Told("b", calls)), 5), epochs=1)
    assert [call[:2] for call in calls] == [
        (name, what) for what in ("start", "step", "epoch", "close") for name in "ab"
    ]
    run(RunLog(compose()))
