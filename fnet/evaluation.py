"""How good a classifier is: figures of its logits, and the logits of a whole data set.

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
"""Images in a batch of an evaluation: few, so that it takes little memory beside training."""

Forward: TypeAlias = Callable[[Params, Tensor], Tensor]
"""`(params, images [N, C, H, W]) -> logits [N, classes]`, images with values 0..255."""


def make_forward(
    model: Model,
    *,
    preprocess: Preprocess,
    dtype: torch.dtype = torch.float32,
    flip: bool = False,
) -> Forward:
    """Return the pure forward pass in evaluation mode, of images as a data set holds them.

    Args:
        model: the network.
        preprocess: that of the training.
        dtype: the precision of the forward pass.
        flip: whether the logits are the mean of those of the image and of its mirror image.
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
    mistakes: int = 10,
) -> tuple[Tensor, "Evaluation"]:
    """Return the logits of the data set, `[len(dataset), classes]`, and what they come to.

    Args:
        model: the network.
        loss: that of the training.
        params: its parameters, on the data set's device.
        dataset: images and labels.
        preprocess: as in `make_forward`, and so are `dtype` and `flip`.
        dtype: the precision of the forward pass.
        flip: whether mirror images count as well.
        compiled: whether the forward pass is compiled: worth it for many images.
        mistakes: how many of them to list.
    """
    forward = make_forward(model, preprocess=preprocess, dtype=dtype, flip=flip)
    if compiled:
        forward = compile(forward)
    logits = all_logits(forward, params, dataset, size=min(EVAL_BATCH, len(dataset)))
    return logits, evaluate_logits(logits, dataset.labels, loss, mistakes=mistakes)


def all_logits(forward: Forward, params: Params, dataset: Dataset, *, size: int) -> Tensor:
    """Return the logits of the data set, `[len(dataset), classes]`, in its order.

    Batches have one shape: the last is padded, and the padding's logits are left out. The
    parameters and the data set are on one device.

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
    """Return how many samples of each class were taken for each class, int64 `[classes, classes]`.

    Rows are the labels, columns the predictions (as scikit-learn's `confusion_matrix`).

    >>> confusion_matrix(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1])).tolist()
    [[1, 0], [1, 0]]
    """
    classes = logits.shape[-1]
    cell = labels * classes + logits.argmax(-1)
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
    return counts.scatter_add(0, cell, torch.ones_like(cell)).view(classes, classes)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Return each class's share of right predictions (its recall), float64 `[classes]`.

    nan where a class has no sample.

    Args:
        confusion: `[classes, classes]`, as `confusion_matrix` returns it.
    """
    return confusion.diagonal().to(torch.float64) / confusion.sum(-1)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Return the expected calibration error, float64 0-d in 0..1 (Guo et al., 2017, equation 3).

    Samples are sorted by confidence, the highest probability, into bins of one width, each with
    its upper end; the mean distance of a bin's accuracy from its confidence is weighted by its
    samples.

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
    """Return the places of the k most confident mistakes, int64, the most confident first.

    There are fewer where fewer are wrong, so their number depends on values: not for a compiled
    function.

    >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> worst_mistakes(probabilities, torch.tensor([0, 0, 0]), 5).tolist()
    [2, 1]
    """
    confidence, predicted = probabilities.max(-1)
    wrong = (predicted != labels).nonzero()[:, 0]
    return wrong[confidence[wrong].argsort(descending=True, stable=True)[:k]]


@dataclass(frozen=True)
class Prediction:
    """What a sample was taken for.

    Attributes:
        index: its place in the data set.
        label: the class it is of.
        predicted: the class it was taken for.
        confidence: the probability of that, 0..1.
    """

    index: int
    label: int
    predicted: int
    confidence: float

    @property
    def right(self) -> bool:
        """Whether that is its class."""
        return self.predicted == self.label


def predictions(probabilities: Tensor, labels: Tensor, places: Tensor) -> list[Prediction]:
    """Return what the samples in some places, int64, were taken for.

    Args:
        probabilities: float `[N, classes]`.
        labels: int64 `[N]`.
        places: those of the samples, each in 0..N-1.
    """
    confidence, predicted = probabilities[places].max(-1)
    parts = places, labels[places], predicted, confidence
    return [Prediction(*row) for row in zip(*(part.tolist() for part in parts), strict=True)]


@dataclass(frozen=True)
class Evaluation:
    """The figures of a classifier on a data set, as Python numbers; classes by their number.

    Attributes:
        images: how many.
        loss: the mean.
        top1: accuracy, 0..1.
        top5: the share of images whose class is among the five most probable.
        calibration_error: `calibration_error` with 15 bins.
        class_accuracy: of each class, None where it has no image.
        confusion: counts, rows are labels and columns predictions.
        mistakes: the most confident ones, the worst first.
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
    logits: Tensor, labels: Tensor, loss: Loss, *, mistakes: int = 10
) -> Evaluation:
    """Return all figures of these logits.

    Args:
        logits: float `[N, classes]`.
        labels: int64 `[N]`.
        loss: that of the training, or another.
        mistakes: how many of the worst mistakes to keep.
    """
    probabilities = logits.to(torch.float64).softmax(-1)
    confusion = confusion_matrix(logits, labels)
    of_class = zip(class_accuracy(confusion).tolist(), confusion.sum(-1).tolist(), strict=True)
    worst = worst_mistakes(probabilities, labels, mistakes)
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
