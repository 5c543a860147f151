"""What many timings come to: the median and the spread, and how two contenders compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from recipes.bench.calibrate import Gemm
from recipes.bench.meter import Timing


@dataclass(frozen=True)
class Figures:
    """Images a second over the rounds.

    Attributes:
        median: of all rounds.
        low: the slowest.
        high: the fastest.
        disturbed: in how many rounds the machine was disturbed.
    """

    median: float
    low: float
    high: float
    disturbed: int


def figures(timings: Sequence[Timing], best: Gemm) -> Figures | None:
    """Return the figures of a contender, None where it has no timing.

    Args:
        timings: one of each round.
        best: the best calibration of the whole benchmark.
    """
    if not timings:
        return None
    rates = [timing.rate for timing in timings]
    disturbed = sum(timing.disturbed(best) for timing in timings)
    return Figures(median(rates), min(rates), max(rates), disturbed)


def ratio(ours: Sequence[Timing], theirs: Sequence[Timing]) -> float | None:
    """Return how many times faster we are: the median of each round's ratio of the two.

    None where no round has both.

    >>> one, two = (Timing(n, 1.0, {}, {}) for n in (10, 20))
    >>> ratio([one, two, two], [one, one, one])
    2.0
    """
    pairs = [a.rate / b.rate for a, b in zip(ours, theirs, strict=False)]
    return median(pairs) if pairs else None
