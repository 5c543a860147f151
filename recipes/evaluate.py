"""Evaluate a run: loss, accuracy (also of each class), calibration, confusion matrix, mistakes.

python -m recipes.evaluate runs/dainet7-default-s0
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

from fnet.data import Dataset, Split
from fnet.evaluation import Evaluation, evaluate_model
from fnet.run.command import DataOptions, RunOptions, Tool
from fnet.run.config import ConfigError
from fnet.run.opened import Run
from fnet.show.tables import CLASS_COLUMNS, class_rows, evaluation_rows, percent
from fnet.show.terminal import Display, inert


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, RunOptions):
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
    run, runtime = options.open(options.compile)
    dataset = options.open_data(run, options.split).to(runtime.device)
    _, found = evaluate_model(
        run.model,
        run.experiment.loss,
        run.params,
        dataset,
        preprocess=run.preprocess,
        dtype=runtime.dtype,
        flip=options.flip,
        compiled=runtime.compiled,
        max_mistakes=options.mistakes,
    )
    if options.json:
        print(json.dumps(_record(run, dataset, options, found), indent=2, ensure_ascii=False))
    else:
        where = f"{run.path} ({run.weights}) on {dataset.name}, {options.split}"
        _show(where, run.classes, found, Console())
    return 0


def _record(run: Run, dataset: Dataset, options: Options, found: Evaluation) -> dict[str, object]:
    return {
        "run": str(run.path),
        "weights": run.weights,
        "data": dataset.name,
        "split": options.split,
        "flip": options.flip,
        "classes": run.classes,
        **asdict(found),
    }


def _show(where: str, classes: tuple[str, ...], found: Evaluation, console: Console) -> None:
    display = Display(console)
    display.say(where, "bold")
    rows = [["images", f"{found.images:,}"], *evaluation_rows(found)]
    display.table("All images", ["figure", "measured"], rows)
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
            ["image", "true class", "predicted class", "probability"],
            [
                [str(m.index), classes[m.label], classes[m.predicted], percent(m.confidence)]
                for m in found.mistakes
            ],
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
