"""Time to accuracy: after how many seconds of a run its accuracy first reached a threshold."""

from collections.abc import Iterable, Sequence

from fnet.run.schema import Line

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92)
"""The accuracies that a run's result gives the time to."""


def time_to(
    lines: Sequence[Line], thresholds: Iterable[float] = THRESHOLDS
) -> dict[float, float | None]:
    """Return the seconds after which each accuracy was first reached, None where it was not.

    Seconds of the run: training, evaluation and compiling, over all its parts where it was stopped
    and resumed. An accuracy is known at the end of an epoch: on the validation images where there
    are some, else on the test images. One that was reached after an epoch whose line is lost has
    None, because the time of that epoch is not known.

    Args:
        lines: of the run's epochs, from the first.
        thresholds: accuracies, 0 to 1.
    """
    reached: dict[float, float | None] = dict.fromkeys(thresholds)
    passed = 0.0
    for epoch, line in enumerate(lines, 1):
        if line.epoch != epoch:
            break
        passed += line.seconds
        for threshold, seconds in reached.items():
            if seconds is None and line.evaluated_accuracy >= threshold:
                reached[threshold] = round(passed, 3)
    return reached


def is_reached(target: float | None, lines: Iterable[Line]) -> bool:
    """Return whether an epoch has ended with the target's accuracy; never without a target."""
    return target is not None and any(line.evaluated_accuracy >= target for line in lines)


def in_percent(times: dict[float, float | None]) -> dict[str, float | None]:
    """Return the times by the accuracy in per cent, as JSON has them.

    >>> in_percent({0.5: 31.5, 0.92: None})
    {'50': 31.5, '92': None}
    """
    return {f"{100 * threshold:g}": seconds for threshold, seconds in times.items()}
