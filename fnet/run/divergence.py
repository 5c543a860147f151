"""Detection of divergence: periodic checks for finite values, then a search for the step."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from fnet import tree
from fnet.debug import NonFiniteError
from fnet.loop import Record


class Watch:
    """Checks records from time to time, and keeps the last finite ones.

    Args:
        begin: the first record, with finite parameters.
    """

    def __init__(self, begin: Record) -> None:
        # The loss of a record is computed before its update: with a finite loss, the parameters
        # of the newest record may already be non-finite. So older records are kept, too.
        self._newest = self._before = self._checked = begin

    def is_finite(self, record: Record, *, params: bool) -> bool:
        """Return whether the mean loss so far is finite; if it is, keep the record.

        Synchronizes with the device.

        Args:
            record: the record of a step. Calls must be in the order of the steps.
            params: whether to check the parameters and batch statistics as well.
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
        """Return the newest record that was kept and has finite parameters."""
        remembered = (self._newest, self._before, self._checked)
        return next(record for record in remembered if _has_finite_params(record))


class Divergence(NamedTuple):
    """The first step with a non-finite value.

    Attributes:
        before: the record before this step.
        where: "Step 12", or "By step 12" if the step was not found.
        reason: which value was not finite.
    """

    before: Record
    where: str
    reason: str


def find_divergence(begin: Record, again: Iterable[Record], failed: int) -> Divergence:
    """Return the first step after `begin` with a non-finite value.

    Steps are pure functions, so repeating them gives the same numbers.

    Args:
        begin: a record with finite parameters.
        again: the records of the steps after it, repeated with `check_finite`.
        failed: the step at which non-finite values were detected.
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
