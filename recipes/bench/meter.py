"""A timing between two calibrations, and whether the machine was disturbed meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass

from recipes.bench.calibrate import Gemm
from recipes.bench.contender import Measured, Sample

TOLERANCE = 0.15
"""By how much a calibration may stay below the best before a timing counts as disturbed."""

ATTEMPTS = 3
"""How often a timing is taken at most, while it is disturbed."""


@dataclass(frozen=True)
class Timing(Measured):
    """A sample, with the GFLOP/s of matrix products right before and after it.

    Attributes:
        before: the calibration before.
        after: and after.
    """

    before: Gemm
    after: Gemm

    def disturbed(self, best: Gemm) -> bool:
        """Tell whether a calibration, before or after, is below the best by over `TOLERANCE`.

        >>> timing = Timing(100, 2.0, before={"fp32": 200.0}, after={"fp32": 160.0})
        >>> timing.disturbed({"fp32": 200.0}), timing.disturbed({"fp32": 180.0})
        (True, False)
        """
        return any(
            min(self.before[name], self.after[name]) < (1 - TOLERANCE) * highest
            for name, highest in best.items()
        )


class Meter:
    """Takes timings, and remembers the best and the worst calibration seen.

    Attributes:
        best: the highest GFLOP/s so far, by precision.
        worst: the lowest.
    """

    def __init__(self, calibrate: Callable[[], Gemm]) -> None:
        self._measure = calibrate
        self.best: Gemm = {}
        self.worst: Gemm = {}

    def take(self, sample: Callable[[], Sample]) -> list[Timing]:
        """Return the timings of up to `ATTEMPTS` samples: the last one counts.

        Further attempts are made only while the one before is disturbed.
        """
        attempts: list[Timing] = []
        while not attempts or (len(attempts) < ATTEMPTS and attempts[-1].disturbed(self.best)):
            before = self._calibrate()
            taken = sample()
            after = self._calibrate()
            attempts.append(Timing(taken.images, taken.seconds, before, after))
        return attempts

    def _calibrate(self) -> Gemm:
        found = self._measure()
        self.best = {name: max(value, self.best.get(name, value)) for name, value in found.items()}
        self.worst = {
            name: min(value, self.worst.get(name, value)) for name, value in found.items()
        }
        return found
