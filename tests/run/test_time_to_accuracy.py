import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnet.run.schema import Line
from fnet.run.time_to_accuracy import THRESHOLDS, time_to

SHARES = st.floats(0, 1)


def line(epoch, accuracy, seconds=10.0):
    return Line(
        epoch=epoch,
        step=4 * epoch,
        train_loss=1.0,
        train_accuracy=0.5,
        test_loss=1.0,
        test_accuracy=accuracy,
        learning_rate=0.1,
        seconds=seconds,
        images_per_second=100.0,
    )


def run(*accuracies):
    return [line(epoch, accuracy) for epoch, accuracy in enumerate(accuracies, 1)]


def test_the_first_epoch_that_reaches_an_accuracy_counts():
    lines = run(0.55, 0.81, 0.79, 0.9)
    assert time_to(lines, THRESHOLDS) == {
        0.5: 10.0,
        0.6: 20.0,
        0.7: 20.0,
        0.8: 20.0,
        0.85: 40.0,
        0.9: 40.0,
        0.92: None,
    }


@pytest.mark.parametrize("lines", [[], run(math.nan, 0.1)])
def test_what_was_not_reached_has_no_time(lines):
    assert set(time_to(lines, THRESHOLDS).values()) == {None}


def test_the_time_of_a_lost_epoch_is_unknown():
    lines = run(0.5, 0.6, 0.7, 0.8)
    del lines[1]
    assert time_to(lines, [0.5, 0.7]) == {0.5: 10.0, 0.7: None}


@given(st.lists(st.tuples(SHARES, st.floats(0, 1e6)), max_size=8), st.lists(SHARES, max_size=5))
def test_a_higher_accuracy_takes_no_less_time(epochs, thresholds):
    lines = [line(epoch, *values) for epoch, values in enumerate(epochs, 1)]
    found = time_to(lines, thresholds)
    assert list(found) == list(dict.fromkeys(thresholds))
    best = max((accuracy for accuracy, _ in epochs), default=-1.0)
    assert all((found[share] is not None) == (share <= best) for share in thresholds)
    times = [found[share] for share in sorted(found) if found[share] is not None]
    assert times == sorted(times)
