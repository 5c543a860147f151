"""Export a run for other programs: ONNX, torch.export, safetensors or a state_dict.

    python -m recipes.export runs/dainet7-default-s0 --format onnx

onnx and torch-export contain the whole classifier: uint8 images [N, C, H, W] in, probabilities out,
any N; the classes and the normalisation are in the metadata. safetensors and state-dict contain the
weights, under the names of the ordinary nn.Module. The file is checked after it is written: it must
predict what the run predicts.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data.load import expanded
from fnet.run.command import Tool
from fnet.run.config import ConfigError
from fnet.run.export import FORMATS, Format, check_export, check_images, write
from fnet.run.opened import Run, Weights, open_run
from fnet.run.preprocess_json import preprocess_to_json
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.export`."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """The run directory."""
    format: Format
    """The format of the file."""
    out: Path | None = None
    """The file, which must not exist (default: model.onnx, .pt2, .safetensors or .pth in RUN)."""
    weights: Weights = "best"
    """The weights of the best epoch, or the final ones."""
    recipe: str | None = None
    """The module or file of the run's recipe, if it is not in recipes.*; it will be imported."""
    images: int = 256
    """The number of images to check the file with."""


def _export(options: Options) -> int:
    if options.images < 2:
        raise ConfigError(f"--images must be at least 2; got {options.images}")
    run = open_run(options.run, options.weights, recipe=options.recipe)
    display = Display(Console())
    out = expanded(options.out or run.path / f"model{FORMATS[options.format].suffix}")
    with _new_file(out) as file:
        write(options.format, file, run)
        checked = check_export(options.format, file, run, *check_images(run, options.images))
    display.say(f"{out}: {out.stat().st_size / 1e6:.1f} MB", "bold")
    for line in _described(run, options.format):
        display.say(line)
    if checked is None:
        display.say('Not checked: pip install "fnet[onnx]" has ONNX Runtime.', "yellow")
    else:
        same = "all of the same class"
        if checked.other_classes:
            same = f"{checked.other_classes} of another class, where two are about as probable"
        display.say(
            f"Checked on {checked.images} {checked.what}: {same}; probabilities differ by at most "
            f"{checked.difference:.1e}."
        )
    return 0


def _described(run: Run, format: Format) -> Iterator[str]:
    shape = " x ".join(map(str, run.input_shape))
    if format in ("onnx", "torch-export"):
        yield f"uint8 images [N, {', '.join(map(str, run.input_shape))}] in, probabilities out"
    else:
        yield f"Weights of {run.recipe.name}, for float images {shape}"
        yield f"Preprocessing: {preprocess_to_json(run.preprocess)}"
    yield f"Classes: {json.dumps(run.classes, ensure_ascii=False)}"


@contextmanager
def _new_file(out: Path) -> Iterator[Path]:
    """Give a temporary file, and rename it to `out` at the end, which must not exist.

    Raises:
        ConfigError: `out` exists, or cannot be written.
    """
    exists = ConfigError(f"{out} exists, and is not overwritten: remove it, or give another --out")
    if os.path.lexists(out):
        raise exists
    try:
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out.parent))
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror}: give another file with --out"
        ) from error
    try:
        yield folder / out.name
        try:
            os.link(folder / out.name, out)
        except FileExistsError:  # somebody has just written it
            raise exists from None
        except OSError:  # a file system without hard links
            (folder / out.name).rename(out)
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}: give another file with --out"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main = Tool("export", __doc__, Options, _export)

if __name__ == "__main__":
    sys.exit(main())
