"""Time to accuracy: how long a run trained before it reached a test accuracy."""

from collections.abc import Iterable, Sequence

from fnet.run.schema import Line

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92)
"""The test accuracies that a report looks for, as shares."""


def time_to(lines: Sequence[Line], thresholds: Iterable[float]) -> dict[float, float | None]:
    """Return for each test accuracy the seconds after which a run first reached it.

    The run is evaluated at the end of an epoch only, so the time is that of whole epochs: it counts
    compiling and all evaluations up to then. An accuracy that was not reached has None, and so has
    one that was reached after an epoch whose line is lost, because the time of that is unknown.

    Args:
        lines: of a run's epochs, in their order.
        thresholds: test accuracies, shares 0..1.
    """
    found: dict[float, float | None] = dict.fromkeys(thresholds)
    seconds = 0.0
    for epoch, line in enumerate(lines, 1):
        if line.epoch != epoch:
            break
        seconds += line.seconds
        for threshold, reached in found.items():
            if reached is None and line.test_accuracy >= threshold:
                found[threshold] = seconds
    return found
