"""Where a run's numbers stop being finite: looked at now and then, and then found to the step."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from fnet import tree
from fnet.debug import NonFiniteError
from fnet.loop import Record


class Watch:
    """Looks at records now and then, and remembers the last that were finite.

    Args:
        begin: the first, whose parameters are finite.
    """

    def __init__(self, begin: Record) -> None:
        # A loss is of the parameters before its step: the newest may have others already.
        self._newest = self._before = self._checked = begin

    def is_finite(self, record: Record, *, params: bool) -> bool:
        """Say whether the mean loss so far is finite, and if so, remember the record.

        Waits for the device.

        Args:
            record: a newer one than all before it.
            params: whether to look at the parameters and statistics as well.
        """
        if not math.isfinite(record.metrics["loss"].item()):
            return False
        if params and not _has_finite_params(record):
            return False
        self._newest, self._before = record, self._newest
        if params:
            self._checked = record
        return True

    def last_finite(self) -> Record:
        """Return the newest of the remembered records with finite parameters."""
        remembered = (self._newest, self._before, self._checked)
        return next(record for record in remembered if _has_finite_params(record))


class Divergence(NamedTuple):
    """The first step whose numbers are not finite.

    Attributes:
        before: the record before it.
        where: "Step 12", or where it was not found "By step 12".
        reason: what was not finite in it.
    """

    before: Record
    where: str
    reason: str


def find_divergence(begin: Record, again: Iterable[Record], failed: int) -> Divergence:
    """Return what went wrong first after `begin`.

    Steps are pure functions, so that doing them again leads to the same numbers.

    Args:
        begin: a record with finite parameters.
        again: those of the steps after it, each checked (`check_finite`).
        failed: the step by which numbers were seen that are not finite.
    """
    last = begin
    try:
        for last in again:
            if last.step == failed:
                break
    except NonFiniteError as error:
        return Divergence(last, f"Step {last.step + 1}", str(error))
    return Divergence(begin, f"By step {failed}", "the loss or a parameter was not finite")


def _has_finite_params(record: Record) -> bool:
    return all(bool(leaf.isfinite().all()) for leaf in tree.leaves(record.params))
