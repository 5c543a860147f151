"""The law of resuming: a resumed run gives the same bits as an uninterrupted run."""

from collections.abc import Iterable

import numpy as np

from fnet import tree
from fnet.data import Batch
from fnet.nn import Params
from fnet.step import Step
from fnet.testing import generators
from fnet.testing.structure import labelled, returned
from fnet.testing.watch import copies
from fnet.tree import Tree

_STOPS = 4


def assert_resumes(step: Step, params: Params, opt_state: Tree, batches: Iterable[Batch]) -> None:
    """Raise an AssertionError unless params and state are the complete state of a run.

    The steps run one after the other. Then the run is resumed before some of the steps (up to four,
    including the last), from copies of the params and the state at that point, with other seeds of
    the global generators. All results must be equal bit for bit.

    Raises:
        ValueError: there are fewer than two batches.
    """
    rows = list(batches)
    if len(rows) < 2:
        raise ValueError(f"resuming is checked with at least 2 batches, got {len(rows)}")
    with generators.preserved():
        generators.seed_all(0)
        params, opt_state = copies((params, opt_state))
        straight = [labelled(copies((params, opt_state, {})))]
        for batch in rows:
            params, opt_state, metrics = returned(step, params, opt_state, batch)
            straight.append(labelled(copies((params, opt_state, metrics))))
        for stop in _stops(len(rows)):
            generators.seed_all(stop)
            _compare(step, straight, rows, stop)


def _compare(step: Step, straight: list[dict[str, Tree]], rows: list[Batch], stop: int) -> None:
    params, opt_state = copies((straight[stop]["params"], straight[stop]["opt_state"]))
    for place in range(stop, len(rows)):
        result = returned(step, params, opt_state, rows[place])
        params, opt_state, _ = result
        got = labelled(result)
        difference = tree.first_difference(got, straight[place + 1])
        difference = difference or tree.first_layout_difference(got, straight[place + 1])
        if difference is not None:
            raise AssertionError(
                f"a run resumed before step {stop} differs after step {place}: {difference} "
                "(resumed against straight): the step keeps state outside of params and opt_state"
            )


def _stops(count: int) -> list[int]:
    """Return the steps to resume before: up to `_STOPS` from 1 to the last, spread evenly."""
    spread = np.linspace(1, count - 1, min(_STOPS, count - 1))
    return [round(float(place)) for place in spread]
