"""Classify images with a run: files, folders of images, http and https URLs.

    python -m recipes.predict runs/dainet7-default-s0 cat.jpg https://example.org/ship.png
    find photos -name "*.jpg" | python -m recipes.predict runs/dainet7-default-s0 - --csv found.csv

Images are resized to the size of the run's images: as in training if the run has --size, else the
aspect ratio is not kept. An image of a folder or of a list that cannot be read is reported and left
out, and the exit code is 2 in the end. Of several runs, python -m recipes.predict RUN RUN IMAGE,
the probabilities are averaged.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import csv
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from tyro.conf import Positional, arg

from fnet.data import DataError
from fnet.data.dataset import printable
from fnet.data.files.decode import SUFFIXES, decode_image, read_image
from fnet.data.files.url import MAX_SECONDS, SECONDS, fetch, is_url
from fnet.run.command import RunOptions, Tool, open_ensemble
from fnet.run.config import ConfigError
from fnet.run.ensemble import Ensemble
from fnet.run.opened import Run
from fnet.run.source import is_run
from fnet.show.terminal import inert

_BAR = 30  # characters


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """The command line of `python -m recipes.predict`."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE [IMAGE ...]")]]
    """Files, folders of images, http and https URLs; - reads a list of these, one in each line,
    from standard input. Run directories before the first image: further runs."""
    top: int | None = None
    """The number of most probable classes to show (default: all)."""
    timeout: float = SECONDS
    """The timeout for a URL, in seconds."""
    json: bool = False
    """Print one JSON object instead of tables."""
    csv: Path | None = None
    """Write a new CSV file instead of tables: image, class, probability, and those of all
    classes."""


def _predict(options: Options) -> int:
    runs = (options.run, *map(Path, takewhile(lambda given: is_run(Path(given)), options.images)))
    images = options.images[len(runs) - 1 :]
    _check(options, images)
    ensemble, runtime = open_ensemble(options, runs)
    _check_fit(ensemble)
    pictures = Pictures(ensemble.first, images, options.timeout)
    found: dict[str, Tensor] = {}
    with _output(options, ensemble) as show:
        started = time.monotonic()
        for name, image in pictures:
            found[name] = ensemble.probabilities(image.to(runtime.device))
            show(name, found[name])
        seconds = time.monotonic() - started
    if options.json:
        record = _record(ensemble, found, pictures.unreadable, options.top)
        print(json.dumps(record, indent=2, ensure_ascii=False))
    count = f"{len(found):,} {'image' if len(found) == 1 else 'images'}"
    speed = f"{count} on {runtime.device} in {seconds:.2f} s: {len(found) / seconds:,.1f} images/s"
    # Standard output has the JSON object only.
    print(speed, file=sys.stderr if options.json else sys.stdout)
    if pictures.unreadable:
        total = len(found) + len(pictures.unreadable)
        print(f"{len(pictures.unreadable)} of {total} images were not read.", file=sys.stderr)
        return 2
    return 0


def _check(options: Options, images: Sequence[str]) -> None:
    if not images:
        raise ConfigError("give at least one image: a file, a folder of images or a URL")
    if "" in images:
        raise ConfigError(
            "the name of an image is empty (from a shell variable that is not set?): give a file, "
            "a folder of images or a URL"
        )
    if options.top is not None and options.top < 1:
        raise ConfigError(f"--top must be at least 1; got {options.top}")
    if not 0 < options.timeout <= MAX_SECONDS:
        raise ConfigError(
            f"--timeout must be above 0 and at most {MAX_SECONDS:g}; got {options.timeout}"
        )


def _check_fit(ensemble: Ensemble) -> None:
    for member in ensemble.members[1:]:
        if member.run.fit != ensemble.first.fit:
            raise ConfigError(
                f"{ensemble.first.path} prepares images with --fit {ensemble.first.fit}, and "
                f"{member.run.path} with --fit {member.run.fit}: only runs with the same can be "
                "averaged"
            )


class Pictures:
    """The images of a command line, read one after the other.

    What is named on the command line is read at once: an error there is the only output. What is
    found in a folder, or listed on standard input, is read when its turn comes; if that fails, it
    is reported on standard error, and in `unreadable`, and left out.

    Raises:
        DataError: what is named on the command line cannot be read.
    """

    def __init__(self, run: Run, given: Sequence[str], timeout: float) -> None:
        self._run, self._timeout = run, timeout
        self.unreadable: dict[str, str] = {}
        self._images: dict[str, Tensor | None] = {}
        for name in given:
            if name == "-":
                self._images |= dict.fromkeys(self._listed())
            elif is_url(name) or not os.path.isdir(name):
                self._images[name] = self._read(name)
            else:
                self._images |= dict.fromkeys(_names(name))

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, image in self._images.items():
            try:
                read = self._read(name) if image is None else image
            except DataError as error:
                self._leave_out(name, error)
            else:
                yield name, read

    def _listed(self) -> Iterator[str]:
        """Return the images that standard input lists, one file, folder or URL in each line."""
        if isinstance(sys.stdin, io.TextIOWrapper):  # a file name may be no valid text
            sys.stdin.reconfigure(errors="surrogateescape")
        for line in sys.stdin:
            if given := line.rstrip("\r\n"):
                try:
                    yield from _names(given)
                except DataError as error:
                    self._leave_out(given, error)

    def _leave_out(self, name: str, error: DataError) -> None:
        self.unreadable[name] = str(error)
        print(f"left out: {inert(str(error))}", file=sys.stderr)

    def _read(self, name: str) -> Tensor:
        shape, fit = self._run.input_shape, self._run.fit
        if is_url(name):
            return decode_image(fetch(name, seconds=self._timeout), shape, name, fit)
        return read_image(Path(name), shape, fit)


def _names(given: str) -> list[str]:
    """Return the sorted images of a folder, or the given file or URL itself.

    Raises:
        DataError: there is no image in the folder, or it cannot be read.
    """
    if is_url(given) or not os.path.isdir(given):
        return [given]
    try:
        entries = sorted(entry for entry in Path(given).iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"the folder {given} cannot be read: {error.strerror}") from error
    images = [str(entry) for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not images:
        inner = any(entry.is_dir() for entry in entries)
        raise DataError(
            f"the folder {given} contains no image (no file name ends with {', '.join(SUFFIXES)}): "
            + (f"give its folders, {given.rstrip('/')}/*" if inner else "give a folder of images")
        )
    return images


_Show: TypeAlias = Callable[[str, Tensor], None]


@contextmanager
def _output(options: Options, ensemble: Ensemble) -> Iterator[_Show]:
    """Give the function that shows the prediction for an image, as a table or in the CSV file.

    Raises:
        ConfigError: the CSV file exists, or cannot be written.
    """
    classes = ensemble.first.classes
    if options.csv is not None:
        try:
            with options.csv.open("x", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                columns = ["image", "class", "probability", *(f"p({name})" for name in classes)]
                rows.writerow(columns)

                def write(name: str, values: Tensor) -> None:
                    [(best, probability)] = _ranked(classes, values, 1)
                    rows.writerow([printable(name), best, probability, *values.tolist()])

                yield write
        except FileExistsError as error:
            raise ConfigError(
                f"{options.csv} exists, and is not overwritten: remove it, or give another --csv"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot write {options.csv}: {error.strerror}: give another --csv"
            ) from error
        print(f"Written: {options.csv}", file=sys.stderr if options.json else sys.stdout)
        return
    console = Console()

    def table(name: str, values: Tensor) -> None:
        if not options.json:
            console.print(Text(inert(name), "bold"), soft_wrap=True)
            console.print(_bars(_ranked(classes, values, options.top)))

    yield table


def _ranked(classes: tuple[str, ...], values: Tensor, top: int | None) -> list[tuple[str, float]]:
    """Return the `top` classes with their probabilities, the most probable first."""
    order = values.argsort(descending=True, stable=True)[:top].tolist()
    return [(classes[place], values[place].item()) for place in order]


def _record(
    ensemble: Ensemble, found: dict[str, Tensor], unreadable: dict[str, str], top: int | None
) -> dict[str, object]:
    run = ensemble.first
    ranked = {name: _ranked(run.classes, values, top) for name, values in found.items()}
    runs = [str(path) for path in ensemble.paths]
    return {
        **({"run": runs[0]} if len(runs) == 1 else {"runs": runs}),
        "weights": run.weights,
        "predictions": [
            {"image": name, "class": rows[0][0], "probabilities": dict(rows)}
            for name, rows in ranked.items()
        ],
        **({"unreadable": unreadable} if unreadable else {}),
    }


def _bars(rows: list[tuple[str, float]]) -> Table:
    table = Table()
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("", width=_BAR)
    for place, (label, probability) in enumerate(rows):
        style = "bold green" if place == 0 else ""
        bar = "█" * round(_BAR * probability)
        share = f"{probability:.2%}"
        table.add_row(Text(inert(label), style), Text(share, style), Text(bar, style))
    return table


main = Tool("predict", __doc__, Options, _predict)

if __name__ == "__main__":
    sys.exit(main())
