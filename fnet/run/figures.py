"""The figures of a run: those of each epoch, and those that it is judged by."""

from collections.abc import Mapping
from typing import TypeAlias

Line: TypeAlias = Mapping[str, float]
"""The figures of one epoch: a line of `metrics.jsonl`."""

TEST_FINAL = "test accuracy, final"
TEST_BEST = "test accuracy, best epoch"
TRAIN_FINAL = "train accuracy, final"


def measured(final: Line | None, best: Line | None) -> dict[str, float]:
    """Return what a run is judged by, shares 0..1, by the names of a recipe's `reported`.

    Args:
        final: the line of the last whole epoch, None if there is none.
        best: that of the best epoch.

    >>> measured({"test_accuracy": 0.5, "train_accuracy": 0.75}, None)
    {'test accuracy, final': 0.5, 'train accuracy, final': 0.75}
    """
    figures = {
        TEST_FINAL: (final, "test_accuracy"),
        TEST_BEST: (best, "test_accuracy"),
        TRAIN_FINAL: (final, "train_accuracy"),
    }
    return {name: line[key] for name, (line, key) in figures.items() if line and key in line}
