"""Evaluate a run: loss, accuracy of all and of each class, calibration, confusion, mistakes.

python -m recipes.evaluate runs/dainet7-default-s0
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fnet import data
from fnet.data import Dataset, Split
from fnet.display import Display
from fnet.environment import ConfigError
from fnet.evaluation import Evaluation, all_logits, evaluate_logits, make_forward
from fnet.run import Run
from fnet.step import compile
from fnet.tool import RunOptions, exit_code
from fnet.trainer import EVAL_BATCH


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """The command line of `python -m recipes.evaluate`."""

    data: str | None = None
    """A data set of the same classes and shape, by name or as a folder (else the run's own)."""
    root: str | None = None
    """The directory that holds published data sets (else the run's --root)."""
    split: Split = "test"
    """The images to evaluate on."""
    flip: bool = False
    """Take the mean of the logits of each image and of its mirror image."""
    mistakes: int = 10
    """How many of the most confident mistakes to list."""
    compile: bool = False
    """Compile the forward pass: worth it for many images."""
    json: bool = False
    """Print one JSON object in place of tables."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: _run(tyro.cli(Options, prog=_PROG, description=__doc__, args=args)))


def _run(options: Options) -> int:
    if options.mistakes < 0:
        raise ConfigError(f"--mistakes is at least 0; got {options.mistakes}")
    run, runtime = options.open(options.compile)
    dataset = open_dataset(run, options.data, options.root, options.split)
    dataset = dataset.to(runtime.device)
    forward = make_forward(
        run.model, preprocess=run.preprocess, dtype=runtime.dtype, flip=options.flip
    )
    if runtime.compiled:
        forward = compile(forward)
    logits = all_logits(forward, run.params, dataset, size=min(EVAL_BATCH, len(dataset)))
    found = evaluate_logits(logits, dataset.labels, run.experiment.loss, mistakes=options.mistakes)
    if options.json:
        print(json.dumps(_record(run, dataset, options, found), indent=2, ensure_ascii=False))
    else:
        where = f"{run.path} ({run.weights}) on {dataset.name}, {options.split}"
        _show(where, run.classes, found, Console())
    return 0


def own_data(run: Run) -> str:
    """Return the name or the folder of the data set a run was trained on."""
    return run.data if run.config.data == "auto" else run.config.data


def open_dataset(run: Run, name: str | None, root: str | None, split: Split) -> Dataset:
    """Return the images to evaluate on, once they are seen to be of the run's kind.

    Args:
        run: what is evaluated.
        name: the data set, by name or as a folder; None: the run's own.
        root: the directory that holds published data sets; None: the run's.
        split: which of its images.

    Raises:
        ConfigError: their classes or their shape are not the run's.
        DataError: the data cannot be had.
    """
    dataset = data.load(name or own_data(run), root or run.config.root, split=split)
    shape = tuple(dataset.images.shape[1:])
    for what, given, expected in (
        ("classes", dataset.classes, run.classes),
        ("images of shape", shape, run.input_shape),
    ):
        if given != expected:
            raise ConfigError(
                f"the run {run.path} is evaluated on {what} {_list(expected)}, and {dataset.name} "
                f"has {_list(given)}: give --data of the same kind"
            )
    return dataset


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
    figures = {
        "images": f"{found.images:,}",
        "loss": f"{found.loss:.4f}",
        "top-1 accuracy": f"{found.top1:.2%}",
        "top-5 accuracy": f"{found.top5:.2%}",
        "calibration error": f"{found.calibration_error:.2%}",
    }
    display.say(where, "bold")
    display.table("All images", ["figure", "measured"], [[*row] for row in figures.items()])
    rows = zip(classes, map(sum, found.confusion), found.class_accuracy, strict=True)
    display.table(
        "Accuracy of each class",
        ["class", "images", "accuracy"],
        [[name, f"{n:,}", "-" if share is None else f"{share:.2%}"] for name, n, share in rows],
    )
    matrix = _matrix(classes, found.confusion)
    needed = Measurement.get(console, console.options.update(max_width=10_000), matrix).maximum
    if needed <= console.width:
        console.print(matrix)
    else:
        display.say("The confusion matrix is wider than this terminal: --json has it.")
    if found.mistakes:
        display.table(
            "Most confident mistakes",
            ["image", "class", "taken for", "probability"],
            [
                [str(m.index), classes[m.label], classes[m.predicted], f"{m.confidence:.2%}"]
                for m in found.mistakes
            ],
        )


def _matrix(classes: tuple[str, ...], confusion: list[list[int]]) -> Table:
    table = Table(title="Confusion: each class (row), taken for (column)", box=box.SIMPLE)
    table.title_justify = "left"
    table.add_column("")
    for place in range(len(classes)):
        table.add_column(str(place), justify="right", no_wrap=True)
    for place, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        cells = [
            Text(str(count) if count else "", "bold" if at == place else "")
            for at, count in enumerate(counts)
        ]
        table.add_row(Text(f"{place} {name}", no_wrap=True), *cells)
    return table


def _list(values: tuple[object, ...]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return f"({shown}, ...)" if len(values) > 10 else f"({shown})"


_PROG = "python -m recipes.evaluate"

if __name__ == "__main__":
    sys.exit(main())
