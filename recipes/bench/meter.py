"""Timings between two calibrations, which detect other load on the machine."""

from collections.abc import Callable
from dataclasses import dataclass

from recipes.bench.calibrate import Gemm
from recipes.bench.contender import Measured, Sample

TOLERANCE = 0.15
"""A timing is disturbed if a calibration is below the best one by more than this fraction."""

ATTEMPTS = 3
"""The maximum number of attempts for a timing, if it is disturbed."""


@dataclass(frozen=True)
class Timing(Measured):
    """A sample, with the GFLOP/s of matrix products directly before and after it."""

    before: Gemm
    after: Gemm

    def disturbed(self, best: Gemm) -> bool:
        """Return whether a calibration, before or after, is more than `TOLERANCE` below the best.

        >>> timing = Timing(100, 2.0, before={"fp32": 200.0}, after={"fp32": 160.0})
        >>> timing.disturbed({"fp32": 200.0}), timing.disturbed({"fp32": 180.0})
        (True, False)
        """
        return any(
            min(self.before[name], self.after[name]) < (1 - TOLERANCE) * highest
            for name, highest in best.items()
        )


class Meter:
    """Takes timings, and keeps the best and the worst calibration.

    Attributes:
        best: the highest GFLOP/s so far, by precision.
        worst: the lowest GFLOP/s so far, by precision.
    """

    def __init__(self, calibrate: Callable[[], Gemm]) -> None:
        self._measure = calibrate
        self.best: Gemm = {}
        self.worst: Gemm = {}

    def take(self, sample: Callable[[], Sample]) -> list[Timing]:
        """Return the timings of up to `ATTEMPTS` samples; the last one counts.

        There is another attempt only if the previous one was disturbed.
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
