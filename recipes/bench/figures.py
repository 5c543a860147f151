"""The figures of many timings: median, spread, and the ratio of two contenders."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from recipes.bench.calibrate import Gemm
from recipes.bench.meter import Timing


@dataclass(frozen=True)
class Figures:
    """The throughput in images per second over all rounds.

    Attributes:
        median: the median of all rounds.
        low: the slowest round.
        high: the fastest round.
        disturbed: the number of rounds with other load on the machine.
    """

    median: float
    low: float
    high: float
    disturbed: int


def figures(timings: Sequence[Timing], best: Gemm) -> Figures | None:
    """Return the figures of a contender, or None if it has no timing.

    Args:
        timings: one timing for each round.
        best: the best calibration of the whole benchmark.
    """
    if not timings:
        return None
    rates = [timing.rate for timing in timings]
    disturbed = sum(timing.disturbed(best) for timing in timings)
    return Figures(median(rates), min(rates), max(rates), disturbed)


def ratio(ours: Sequence[Timing], theirs: Sequence[Timing]) -> float | None:
    """Return how many times faster we are: the median over the rounds of the ratio of both.

    None if no round has both.

    >>> one, two = (Timing(n, 1.0, {}, {}) for n in (10, 20))
    >>> ratio([one, two, two], [one, one, one])
    2.0
    """
    pairs = [a.rate / b.rate for a, b in zip(ours, theirs, strict=False)]
    return median(pairs) if pairs else None
