"""What a network made of a data set, and how a report shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fnet.data import Dataset
from fnet.evaluation import Evaluation, Prediction, evaluate_model, predictions
from fnet.nn import Params, to_module
from fnet.run.opened import Weights
from fnet.run.recipe import Experiment
from fnet.run.report.html import Content, Markup, element, join, photo, plot, section, table
from fnet.run.runtime import Runtime
from fnet.show import plots
from fnet.show.plots.images import filter_pixels
from fnet.show.tables import CLASS_COLUMNS, class_rows, evaluation_rows

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
    mistakes: int = _SAMPLE,
) -> Evaluated:
    """Return what the network makes of the data set, computed eagerly.

    Args:
        experiment: that of the run.
        params: the run's weights, on the runtime's device.
        weights: which of the run's they are.
        dataset: of the run's classes and shape, on any device.
        runtime: where to compute, and in which precision.
        mistakes: how many of the most confident ones to keep.
    """
    dataset = dataset.to(runtime.device)
    logits, figures = evaluate_model(
        experiment.model,
        experiment.loss,
        params,
        dataset,
        preprocess=experiment.preprocess,
        dtype=runtime.dtype,
        mistakes=mistakes,
    )
    return Evaluated(
        weights, dataset, logits, figures, _first_filters(to_module(experiment.model, params))
    )


def evaluation_section(evaluated: Evaluated) -> Markup:
    """Return the part of a report that shows how good the predictions are, and where not."""
    figures, dataset = evaluated.figures, evaluated.dataset
    classes = dataset.classes
    parts: list[Content] = [
        element(
            "p",
            f"The {evaluated.weights} weights on {figures.images:,} test images of {dataset.name}.",
            class_="soft",
        ),
        table(["figure", "measured"], evaluation_rows(figures)),
        element("h3", "Accuracy of each class"),
        _class_table(figures, classes),
    ]
    if len(classes) <= _LARGEST_MATRIX:
        matrix = plots.confusion(figures.confusion, classes)
        parts += [element("h3", "Confusion matrix"), plot(matrix, "Confusion matrix")]
    parts += [
        element("h3", "Test images"),
        element("p", "Predicted (true), at equal distances in the data set.", class_="soft"),
        _photos(evaluated, evaluated.sample(_SAMPLE)),
    ]
    if figures.mistakes:
        parts += [
            element("h3", "Most confident mistakes"),
            element("p", "Predicted (true), the most confident first.", class_="soft"),
            _photos(evaluated, figures.mistakes),
        ]
    if evaluated.filters is not None:
        parts += [element("h3", "First-layer filters"), _filters(evaluated.filters)]
    return section("Evaluation", *parts)


def _class_table(figures: Evaluation, classes: Sequence[str]) -> Markup:
    """Return the accuracy of each class, as a number and as a bar."""
    rows: list[list[Content]] = []
    for cells, share in zip(class_rows(figures, classes), figures.class_accuracy, strict=True):
        filled = element("i", style=f"width: {share or 0:.1%}")
        rows.append([*cells, "" if share is None else element("span", filled, class_="bar")])
    return table([*CLASS_COLUMNS, ""], rows)


def _photos(evaluated: Evaluated, shown: Sequence[Prediction]) -> Markup:
    def one(prediction: Prediction) -> Markup:
        title = evaluated.title(prediction)
        caption = element(
            "figcaption",
            f"{'✓' if prediction.right else '✗'} {title}",
            element("small", f"image {prediction.index}, {prediction.confidence:.0%}"),
        )
        picture = photo(evaluated.dataset.images[prediction.index], title)
        return element("figure", picture, caption, class_="right" if prediction.right else "wrong")

    return element("div", join(map(one, shown)), class_="photos")


def _filters(weights: Tensor) -> Markup:
    """Return the filters as images: drawing as many axes takes longer than all else."""
    pixels = torch.from_numpy(255 * filter_pixels(weights)).round().to(torch.uint8)
    pictures = (photo(values, f"filter {place}") for place, values in enumerate(pixels))
    return element("div", join(pictures), class_="photos filters")


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
