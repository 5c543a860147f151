"""Metrics as sums: added across batches and processes, turned into means once, at the end.

`Metrics` is a dict of 0-d float64 sums. "count" is the total weight of the samples. `means` divides
every other entry by it and keeps the entry's name ("correct" becomes "accuracy"), so a step may add
entries of its own.
"""

from typing import TypeAlias

import torch
from torch import Tensor

Metrics: TypeAlias = dict[str, Tensor]


def from_logits(losses: Tensor, logits: Tensor, labels: Tensor, weight: Tensor) -> Metrics:
    """Return the sums over a batch. They are float64, in which sums of counts are exact.

    Args:
        losses: float `[N]`.
        logits: float `[N, classes]`.
        labels: int64 `[N]`, or probabilities, float `[N, classes]`, whose largest is the class.
        weight: float `[N]`. A sample of weight 0 (padding) adds nothing, even if its loss is not
            finite.

    Returns:
        {"loss": ..., "correct": ..., "count": ...}, each 0-d.

    >>> logits, labels = torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1])
    >>> sums = from_logits(torch.tensor([0.5, 1.5]), logits, labels, torch.ones(2))
    >>> means(add(sums, sums))
    {'loss': 1.0, 'accuracy': 0.5}
    """
    classes = labels.argmax(-1) if labels.is_floating_point() else labels
    weight = weight.to(torch.float64)
    return {
        "loss": (weight * losses.masked_fill(weight == 0, 0.0)).sum(),
        "correct": (weight * (logits.argmax(-1) == classes)).sum(),
        "count": weight.sum(),
    }


def add(a: Metrics, b: Metrics) -> Metrics:
    """Return the sums over the samples of both.

    Raises:
        ValueError: the two do not have the same entries.
    """
    if a.keys() != b.keys():
        raise ValueError(f"metrics to add have the same entries; got {sorted(a)} and {sorted(b)}")
    return {name: a[name] + b[name] for name in a}


def means(metrics: Metrics) -> dict[str, float]:
    """Return the means as Python numbers; NaN if the count is 0.

    Waits for the device: call it once, at the end.

    Raises:
        ValueError: there is no "count".
    """
    if "count" not in metrics:
        raise ValueError(f'metrics have a "count" to divide by; got {sorted(metrics)}')
    names = [name for name in metrics if name != "count"]
    values = torch.stack([metrics[name] for name in names]) / metrics["count"]
    return {
        "accuracy" if name == "correct" else name: value
        for name, value in zip(names, values.tolist(), strict=True)
    }
