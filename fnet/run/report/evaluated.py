"""What a network made of a data set, and how a report shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fnet.data import Dataset
from fnet.evaluation import Evaluation, Prediction, evaluate_model, predictions
from fnet.nn import Params, to_module
from fnet.run.opened import Weights
from fnet.run.recipe import Experiment
from fnet.run.report.page import Table
from fnet.run.report.pictures import photo, plot
from fnet.run.runtime import Runtime
from fnet.show import plots
from fnet.show.plots.images import filter_pixels
from fnet.show.tables import CLASS_COLUMNS, class_rows, evaluation_rows, percent

_SAMPLE = 24  # images of the data set; of mistakes as many
_LARGEST_MATRIX = 40  # classes


@dataclass(frozen=True)
class Evaluated:
    """A network's predictions of a data set.

    Attributes:
        weights: which of the run's weights.
        dataset: the images and labels.
        logits: float `[len(dataset), classes]`.
        figures: what these come to.
        filters: those of the first convolution `[out, in, h, w]`, if there is one.
    """

    weights: Weights
    dataset: Dataset
    logits: Tensor
    figures: Evaluation
    filters: Tensor | None

    def sample(self, n: int) -> list[Prediction]:
        """Return what n images were taken for, rightly or not, at equal distances in the set."""
        total = len(self.dataset)
        places = torch.linspace(0, total - 1, min(n, total)).long()
        probabilities = self.logits.to(torch.float64).softmax(-1)
        return predictions(probabilities, self.dataset.labels, places)

    def title(self, prediction: Prediction) -> str:
        """Return "predicted (true)"."""
        classes = self.dataset.classes
        return f"{classes[prediction.predicted]} ({classes[prediction.label]})"


def evaluate_run(
    experiment: Experiment,
    params: Params,
    weights: Weights,
    dataset: Dataset,
    runtime: Runtime,
    max_mistakes: int = _SAMPLE,
) -> Evaluated:
    """Return what the network makes of the data set, computed eagerly.

    Args:
        experiment: that of the run.
        params: the run's weights, on the runtime's device.
        weights: which of the run's they are.
        dataset: of the run's classes and shape, on any device.
        runtime: where to compute, and in which precision.
        max_mistakes: the largest number of mistakes to keep, the most confident ones.
    """
    dataset = dataset.to(runtime.device)
    logits, figures = evaluate_model(
        experiment.model,
        experiment.loss,
        params,
        dataset,
        preprocess=experiment.preprocess,
        dtype=runtime.dtype,
        max_mistakes=max_mistakes,
    )
    return Evaluated(
        weights, dataset, logits, figures, _first_filters(to_module(experiment.model, params))
    )


class Photo(NamedTuple):
    """An image of the test set on a page, with its prediction."""

    address: str
    title: str
    right: bool
    place: int
    confidence: str


class EvaluationView(NamedTuple):
    """What the template of the evaluation shows.

    Attributes:
        caption: what was evaluated on what.
        figures: (name, value).
        class_columns: headings of the classes' table.
        classes: (cells, share of right predictions or None).
        matrix: the address of the confusion matrix, or nothing where it is too large to read.
        confusions: the most frequent ones, more where there is no matrix.
        mistakes: the most confident ones.
        sample: images at equal distances.
        filters: addresses of the first layer's.
    """

    caption: str
    figures: list[list[str]]
    class_columns: list[str]
    classes: list[tuple[list[str], float | None]]
    matrix: str
    confusions: Table | None
    mistakes: list[Photo]
    sample: list[Photo]
    filters: list[str]


def evaluation_view(evaluated: Evaluated) -> EvaluationView:
    """Return the figures of the evaluation, ready to show."""
    figures, dataset = evaluated.figures, evaluated.dataset
    classes = dataset.classes
    small = len(classes) <= _LARGEST_MATRIX
    rows = class_rows(figures, classes)
    return EvaluationView(
        caption=f"The {evaluated.weights} weights on {figures.images:,} test images of "
        f"{dataset.name}.",
        figures=evaluation_rows(figures),
        class_columns=CLASS_COLUMNS,
        classes=list(zip(rows, figures.class_accuracy, strict=True)),
        matrix=plot(plots.confusion(figures.confusion, classes)) if small else "",
        confusions=_confusions(figures, classes, 5 if small else _SAMPLE),
        mistakes=[_photo(evaluated, prediction) for prediction in figures.mistakes],
        sample=[_photo(evaluated, prediction) for prediction in evaluated.sample(_SAMPLE)],
        filters=[] if evaluated.filters is None else _filters(evaluated.filters),
    )


def _confusions(figures: Evaluation, classes: Sequence[str], n: int) -> Table | None:
    """Return the n most frequent confusions, or None if there is no confusion."""
    found = [
        (images, true, predicted)
        for true, row in enumerate(figures.confusion)
        for predicted, images in enumerate(row)
        if images and true != predicted
    ]
    found.sort(key=lambda confusion: -confusion[0])
    rows = [
        [
            classes[true],
            classes[predicted],
            f"{images:,}",
            percent(images / sum(figures.confusion[true])),
        ]
        for images, true, predicted in found[:n]
    ]
    columns = ["true class", "predicted", "images", "of the class"]
    return Table(columns, rows, names=2) if rows else None


def _photo(evaluated: Evaluated, prediction: Prediction) -> Photo:
    return Photo(
        address=photo(evaluated.dataset.images[prediction.index]),
        title=evaluated.title(prediction),
        right=prediction.right,
        place=prediction.index,
        confidence=f"{prediction.confidence:.0%}",
    )


def _filters(weights: Tensor) -> list[str]:
    """Return the filters as images: drawing as many axes takes longer than all else."""
    pixels = torch.from_numpy(255 * filter_pixels(weights)).round().to(torch.uint8)
    return [photo(values) for values in pixels]


def evaluation_figures(evaluated: Evaluated, images: int) -> dict[str, Figure]:
    """Return the plots of an evaluation by name: confusion, images, mistakes, filters.

    Args:
        evaluated: what is drawn.
        images: how many of the data set to show; of mistakes there are those it holds.
    """

    def grid(shown: Sequence[Prediction]) -> Figure:
        index = torch.tensor([prediction.index for prediction in shown])
        return plots.image_grid(
            evaluated.dataset.images[index],
            [evaluated.title(prediction) for prediction in shown],
            [prediction.right for prediction in shown],
        )

    figures, classes = evaluated.figures, evaluated.dataset.classes
    drawn = {
        "confusion": plots.confusion(figures.confusion, classes),
        "images": grid(evaluated.sample(images)),
    }
    if figures.mistakes:
        drawn["mistakes"] = grid(figures.mistakes)
    if evaluated.filters is not None:
        drawn["filters"] = plots.filters(evaluated.filters)
    return drawn


def _first_filters(module: torch.nn.Module) -> Tensor | None:
    """Return the filters of the first convolution, if they can be seen: grey or RGB, not 1 x 1."""
    weights = (leaf for leaf in module.state_dict().values() if leaf.dim() == 4)
    first = next(weights, None)
    visible = first is not None and first.shape[1] in (1, 3) and first.shape[-1] > 1
    return first if visible else None
