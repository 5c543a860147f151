"""Evaluate a run: loss, accuracy (also of each class), calibration, confusion matrix, mistakes.

    python -m recipes.evaluate runs/dainet7-default-s0
    python -m recipes.evaluate runs/dainet7-default-s0 runs/dainet7-default-s1

Of several runs, the averaged probabilities are evaluated: their gain over the runs, and how often
the runs disagree.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import json
import sys
from dataclasses import asdict, dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from torch import Tensor

from fnet.data import Dataset, Split
from fnet.evaluation import Evaluation, evaluate_logits
from fnet.losses import Loss
from fnet.run.command import DataOptions, RunsOptions, Tool
from fnet.run.config import ConfigError
from fnet.run.ensemble import Ensemble, averaged, disagreement
from fnet.show.tables import CLASS_COLUMNS, class_rows, evaluation_rows, percent
from fnet.show.terminal import Display, inert


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, RunsOptions):
    """The command line of `python -m recipes.evaluate`."""

    split: Split = "test"
    """The split of the data set to evaluate on."""
    flip: bool = False
    """Average the logits of each image and its mirror image."""
    mistakes: int = 10
    """The number of most confident mistakes to list."""
    compile: bool = False
    """Compile the forward pass, which is faster for many images."""
    json: bool = False
    """Print one JSON object instead of tables."""


def _evaluate(options: Options) -> int:
    if options.mistakes < 0:
        raise ConfigError(f"--mistakes must be at least 0; got {options.mistakes}")
    ensemble, runtime = options.open_all(options.compile)
    run = ensemble.first
    dataset = options.open_shared(ensemble, options.split).to(runtime.device)
    logits = ensemble.logits(dataset, flip=options.flip, compiled=runtime.compiled)
    labels, loss = dataset.labels, run.experiment.loss
    found = evaluate_logits(averaged(logits), labels, loss, max_mistakes=options.mistakes)
    gain = Gain.of(found, logits, labels, loss) if len(logits) > 1 else None
    if options.json:
        record = _record(ensemble, dataset, options, found, gain)
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        runs = ", ".join(map(str, ensemble.paths))
        where = f"{runs} ({run.weights}) on {dataset.name}, {options.split}"
        _show(where, ensemble, dataset, found, gain, Console())
    return 0


@dataclass(frozen=True)
class Gain:
    """The averaged prediction of several runs, against the runs.

    Attributes:
        accuracies: of each run, 0..1.
        losses: of each run.
        over_mean: the averaged prediction's accuracy less the mean of the runs'.
        over_best: the same less that of the best run.
        disagreement: the share of images for which the runs do not predict the same class.
    """

    accuracies: list[float]
    losses: list[float]
    over_mean: float
    over_best: float
    disagreement: float

    @classmethod
    def of(cls, found: Evaluation, logits: list[Tensor], labels: Tensor, loss: Loss) -> "Gain":
        """Return the gain of the averaged prediction."""
        each = [evaluate_logits(one, labels, loss, max_mistakes=0) for one in logits]
        accuracies = [one.top1 for one in each]
        return cls(
            accuracies=accuracies,
            losses=[one.loss for one in each],
            over_mean=found.top1 - sum(accuracies) / len(accuracies),
            over_best=found.top1 - max(accuracies),
            disagreement=disagreement(logits),
        )


def _record(
    ensemble: Ensemble, dataset: Dataset, options: Options, found: Evaluation, gain: Gain | None
) -> dict[str, object]:
    run = ensemble.first
    paths = [str(path) for path in ensemble.paths]
    files = [{"file": dataset.files[m.index]} if dataset.files else {} for m in found.mistakes]
    figures = asdict(found)
    named = [{**mistake, **file} for mistake, file in zip(figures["mistakes"], files, strict=True)]
    return {
        **({"run": paths[0]} if gain is None else {"runs": paths, "gain": asdict(gain)}),
        "weights": run.weights,
        "data": dataset.name,
        "split": options.split,
        "flip": options.flip,
        "classes": run.classes,
        **figures,
        "mistakes": named,
    }


def _show(
    where: str,
    ensemble: Ensemble,
    dataset: Dataset,
    found: Evaluation,
    gain: Gain | None,
    console: Console,
) -> None:
    classes = ensemble.first.classes
    display = Display(console)
    display.say(where, "bold")
    rows = [["images", f"{found.images:,}"], *evaluation_rows(found)]
    title = "All images" if gain is None else "All images, the averaged prediction"
    display.table(title, ["figure", "measured"], rows)
    if gain is not None:
        _show_gain(ensemble, found, gain, display)
    display.table("Accuracy of each class", CLASS_COLUMNS, class_rows(found, classes))
    matrix = _matrix(classes, found.confusion)
    needed = Measurement.get(console, console.options.update(max_width=10_000), matrix).maximum
    if needed <= console.width:
        console.print(matrix)
    else:
        display.say("The confusion matrix is wider than this terminal: give --json to see it.")
    if found.mistakes:
        display.table(
            "Most confident mistakes",
            ["image", "true class", "probability", "predicted class", "probability"],
            [
                [
                    dataset.files[m.index] if dataset.files else str(m.index),
                    classes[m.label],
                    percent(m.label_confidence),
                    classes[m.predicted],
                    percent(m.confidence),
                ]
                for m in found.mistakes
            ],
        )


def _show_gain(ensemble: Ensemble, found: Evaluation, gain: Gain, display: Display) -> None:
    rows = [
        [str(path), percent(accuracy), f"{loss:.4f}"]
        for path, accuracy, loss in zip(ensemble.paths, gain.accuracies, gain.losses, strict=True)
    ]
    rows.append(["averaged", percent(found.top1), f"{found.loss:.4f}"])
    display.table("The runs and their average", ["run", "accuracy", "loss"], rows)
    display.say(
        f"Gain: {100 * gain.over_mean:+.2f} points over the mean of the runs, "
        f"{100 * gain.over_best:+.2f} over the best. The runs disagree on "
        f"{percent(gain.disagreement)} of the images."
    )


def _matrix(classes: tuple[str, ...], confusion: list[list[int]]) -> Table:
    table = Table(
        title="Confusion matrix: true class (row), predicted class (column)", box=box.SIMPLE
    )
    table.title_justify = "left"
    table.add_column("")
    for place in range(len(classes)):
        table.add_column(str(place), justify="right", no_wrap=True)
    for place, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        cells = [
            Text(str(count) if count else "", "bold" if at == place else "")
            for at, count in enumerate(counts)
        ]
        table.add_row(Text(inert(f"{place} {name}"), no_wrap=True), *cells)
    return table


main = Tool("evaluate", __doc__, Options, _evaluate)

if __name__ == "__main__":
    sys.exit(main())
