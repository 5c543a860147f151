"""Losses: `(logits, labels) -> one loss for each sample`.

The step reduces them (weights, means, per-sample gradients).
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy in nats, for each sample.

    As `torch.nn.functional.cross_entropy(..., reduction="none")`, but computed in at least
    float32. A smoothed loss is `functools.partial(cross_entropy, label_smoothing=0.1)`.

    Args:
        logits: float `[N, classes]`.
        labels: int64 `[N]`, or probabilities, float `[N, classes]`.
        label_smoothing: share of each label spread evenly over all classes, in [0, 1]
            (Szegedy et al., 2016).

    Returns:
        Losses `[N]`: float32, or float64 if the logits are float64.

    Raises:
        TypeError: the labels are neither int64 nor float.
        ValueError: the labels have another shape, or the smoothing is outside [0, 1].

    >>> cross_entropy(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0]))
    tensor([0.6931, 0.3133])
    """
    probabilities = labels.is_floating_point()
    if not probabilities and labels.dtype != torch.int64:
        raise TypeError(f"labels are int64 classes or float probabilities; got {labels.dtype}")
    expected = logits.shape if probabilities else logits.shape[:-1]
    if labels.shape != expected:
        raise ValueError(
            f"{labels.dtype} labels for logits of shape {tuple(logits.shape)} have shape "
            f"{tuple(expected)}; got {tuple(labels.shape)}"
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is in [0, 1]; got {label_smoothing}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = labels.to(logits.dtype) if probabilities else labels
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
