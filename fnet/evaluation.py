"""Evaluation of a classifier: the logits of a whole data set, and figures computed from them.

Logits are float `[N, classes]`, labels int64 `[N]`, probabilities the softmax of logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from fnet.compiler import compile
from fnet.data import Dataset, Preprocess, eval_batches
from fnet.losses import Loss
from fnet.nn import Model, Params

EVAL_BATCH = 125
"""Batch size of an evaluation: small, because training holds its own memory at the same time."""

Forward: TypeAlias = Callable[[Params, Tensor], Tensor]
"""`(params, images [N, C, H, W]) -> logits [N, classes]`, images with values 0..255."""


def make_forward(
    model: Model,
    *,
    preprocess: Preprocess,
    dtype: torch.dtype = torch.float32,
    flip: bool = False,
) -> Forward:
    """Return the pure forward pass in evaluation mode. It takes the images of a data set.

    Args:
        model: the network.
        preprocess: the preprocessing used in training.
        dtype: the precision of the forward pass.
        flip: average the logits of each image and of its horizontal mirror image.
    """

    def forward(params: Params, images: Tensor) -> Tensor:
        logits, _ = model.apply(params, preprocess(images).to(dtype))
        if flip:
            mirrored, _ = model.apply(params, preprocess(images.flip(-1)).to(dtype))
            logits = (logits + mirrored) / 2
        return logits

    return forward


def evaluate_model(
    model: Model,
    loss: Loss,
    params: Params,
    dataset: Dataset,
    *,
    preprocess: Preprocess,
    dtype: torch.dtype = torch.float32,
    flip: bool = False,
    compiled: bool = False,
    max_mistakes: int = 10,
) -> tuple[Tensor, "Evaluation"]:
    """Return the logits of the data set, `[len(dataset), classes]`, and figures computed from them.

    Args:
        model: the network.
        loss: the loss used in training.
        params: the model's parameters, on the data set's device.
        dataset: images and labels.
        preprocess: as in `make_forward`.
        dtype: as in `make_forward`.
        flip: as in `make_forward`.
        compiled: compile the forward pass; this pays off for many images.
        max_mistakes: the largest number of mistakes to list, the most confident ones.
    """
    forward = make_forward(model, preprocess=preprocess, dtype=dtype, flip=flip)
    if compiled:
        forward = compile(forward)
    logits = all_logits(forward, params, dataset, size=min(EVAL_BATCH, len(dataset)))
    return logits, evaluate_logits(logits, dataset.labels, loss, max_mistakes=max_mistakes)


def all_logits(forward: Forward, params: Params, dataset: Dataset, *, size: int) -> Tensor:
    """Return the logits of the data set, `[len(dataset), classes]`, in its order.

    All batches have the same shape: the last one is padded, and the logits of the padding are
    dropped. The parameters and the data set must be on the same device.

    Raises:
        ValueError: the size is below 1.
    """
    with torch.no_grad():
        parts = [forward(params, batch.images) for batch in eval_batches(dataset, size)]
    return torch.cat(parts)[: len(dataset)]


def topk_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Return the share of samples whose label is among the k highest logits, float64 0-d.

    >>> logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> [topk_accuracy(logits, torch.tensor([0, 1]), k).item() for k in (1, 2)]
    [0.5, 1.0]
    """
    highest = logits.argsort(dim=-1, descending=True, stable=True)[:, :k]
    return (highest == labels[:, None]).any(-1).to(torch.float64).mean()


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the confusion matrix, int64 counts `[classes, classes]`.

    Rows are the labels, columns the predictions (as scikit-learn's `confusion_matrix`).

    >>> confusion_matrix(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1])).tolist()
    [[1, 0], [1, 0]]
    """
    classes = logits.shape[-1]
    cell = labels * classes + logits.argmax(-1)
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
    return counts.scatter_add(0, cell, torch.ones_like(cell)).view(classes, classes)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Return the accuracy of each class (its recall), float64 `[classes]`.

    It is NaN for a class without samples.

    Args:
        confusion: `[classes, classes]`, as `confusion_matrix` returns it.
    """
    return confusion.diagonal().to(torch.float64) / confusion.sum(-1)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Return the expected calibration error, float64 0-d in 0..1 (Guo et al., 2017, equation 3).

    The confidence of a sample is its highest probability. Samples are grouped by confidence into
    bins of equal width; each bin includes its upper edge. The result is the mean over the bins of
    |accuracy - mean confidence|, weighted by the number of samples in each bin.

    Args:
        probabilities: float `[N, classes]`.
        labels: int64 `[N]`.
        bins: the number of bins.

    >>> sure_and_half_right = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> calibration_error(sure_and_half_right, torch.tensor([0, 1])).item()
    0.5
    """
    confidence, predicted = probabilities.to(torch.float64).max(-1)
    place = (confidence * bins).ceil().long() - 1
    gap = (predicted == labels).to(torch.float64) - confidence
    sums = torch.zeros(bins, dtype=torch.float64, device=gap.device)
    return sums.scatter_add(0, place.clamp(0, bins - 1), gap).abs().sum() / len(labels)


def worst_mistakes(probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the indices of the k most confident mistakes, int64, the most confident first.

    If fewer than k predictions are wrong, there are fewer indices. So the shape depends on values
    (a data-dependent shape), and the function cannot be compiled.

    >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> worst_mistakes(probabilities, torch.tensor([0, 0, 0]), 5).tolist()
    [2, 1]
    """
    confidence, predicted = probabilities.max(-1)
    wrong = (predicted != labels).nonzero()[:, 0]
    return wrong[confidence[wrong].argsort(descending=True, stable=True)[:k]]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one sample.

    Attributes:
        index: the sample's index in the data set.
        label: its true class.
        predicted: the predicted class.
        confidence: the probability of the predicted class, 0..1.
        label_confidence: the probability of the true class, 0..1.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    label_confidence: float

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.predicted == self.label


def predictions(probabilities: Tensor, labels: Tensor, indices: Tensor) -> list[Prediction]:
    """Return the predictions for some of the samples.

    Args:
        probabilities: float `[N, classes]`.
        labels: int64 `[N]`.
        indices: int64 indices of the samples, each in 0..N-1.
    """
    confidence, predicted = probabilities[indices].max(-1)
    of_label = probabilities[indices, labels[indices]]
    parts = indices, labels[indices], predicted, confidence, of_label
    return [Prediction(*row) for row in zip(*(part.tolist() for part in parts), strict=True)]


@dataclass(frozen=True)
class Evaluation:
    """The figures of a classifier on a data set, as Python numbers; classes by their number.

    Attributes:
        images: the number of images.
        loss: the mean loss.
        top1: accuracy, 0..1.
        top5: the share of images whose class is among the five most probable, 0..1.
        calibration_error: `calibration_error` with 15 bins.
        class_accuracy: the accuracy of each class, None for a class without images.
        confusion: counts; rows are labels and columns predictions.
        mistakes: the most confident mistakes, the most confident first.
    """

    images: int
    loss: float
    top1: float
    top5: float
    calibration_error: float
    class_accuracy: list[float | None]
    confusion: list[list[int]]
    mistakes: list[Prediction]


def evaluate_logits(
    logits: Tensor, labels: Tensor, loss: Loss, *, max_mistakes: int = 10
) -> Evaluation:
    """Return all figures of these logits.

    Args:
        logits: float `[N, classes]`.
        labels: int64 `[N]`.
        loss: the loss used in training, or another one.
        max_mistakes: the largest number of mistakes to list, the most confident ones.
    """
    probabilities = logits.to(torch.float64).softmax(-1)
    confusion = confusion_matrix(logits, labels)
    of_class = zip(class_accuracy(confusion).tolist(), confusion.sum(-1).tolist(), strict=True)
    worst = worst_mistakes(probabilities, labels, max_mistakes)
    return Evaluation(
        images=len(labels),
        loss=loss(logits, labels).to(torch.float64).mean().item(),
        top1=topk_accuracy(logits, labels).item(),
        top5=topk_accuracy(logits, labels, 5).item(),
        calibration_error=calibration_error(probabilities, labels).item(),
        class_accuracy=[accuracy if images else None for accuracy, images in of_class],
        confusion=confusion.tolist(),
        mistakes=predictions(probabilities, labels, worst),
    )
