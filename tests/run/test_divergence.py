"""The step that diverged is found again, and what is gone on from was finite before it."""

import pytest
import torch

from fnet.debug import NonFiniteError
from fnet.loop import Record
from fnet.nn import Params
from fnet.run.divergence import Watch, find_divergence

NAN = float("nan")


def record(step, loss=1.0, weight=1.0):
    params = Params({"w": torch.tensor([0.5, weight])}, {"mean": torch.zeros(2)})
    return Record(step, 0, False, params, None, {"loss": torch.tensor(loss)})


def test_the_newest_finite_record_is_remembered():
    watch = Watch(record(0))
    assert watch.last_finite().step == 0
    for step in (1, 2):
        assert watch.is_finite(record(step), params=False)
        assert watch.last_finite().step == step


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_a_loss_that_is_not_finite_is_seen_and_not_remembered(loss):
    watch = Watch(record(0))
    assert not watch.is_finite(record(1, loss=loss), params=False)
    assert watch.last_finite().step == 0


def test_params_are_looked_at_where_that_is_asked_for():
    assert not Watch(record(0)).is_finite(record(1, weight=NAN), params=True)
    watch = Watch(record(0))
    assert watch.is_finite(record(1), params=False)
    # Its loss is that of the weights before: nobody can know yet.
    assert watch.is_finite(record(2, weight=NAN), params=False)
    assert watch.last_finite().step == 1


def test_one_whose_params_were_looked_at_is_kept_for_the_worst():
    watch = Watch(record(0))
    assert watch.is_finite(record(1), params=True)
    for step in (2, 3, 4):
        assert watch.is_finite(record(step, weight=NAN), params=False)
    assert watch.last_finite().step == 1


def test_statistics_count_as_params():
    bad = record(1)
    bad = bad._replace(params=bad.params._replace(stats={"mean": torch.tensor([0.0, NAN])}))
    assert not Watch(record(0)).is_finite(bad, params=True)


def checked(*steps, fails=None):
    """The records of these steps, and then of one that raises."""
    yield from map(record, steps)
    if fails:
        raise NonFiniteError(fails)


def test_the_first_step_that_is_not_finite_is_found():
    found = find_divergence(record(3), checked(4, 5, fails="w has 1 NaN"), failed=8)
    assert (found.before.step, found.where, found.reason) == (5, "Step 6", "w has 1 NaN")
    found = find_divergence(record(3), checked(fails="w has 1 NaN"), failed=8)
    assert (found.before.step, found.where) == (3, "Step 4")


def test_where_it_is_not_found_again_the_run_goes_back_to_where_the_search_began():
    found = find_divergence(record(3), checked(4, 5, 6, 7), failed=5)
    assert (found.before.step, found.where) == (3, "By step 5")
    assert "not finite" in found.reason
