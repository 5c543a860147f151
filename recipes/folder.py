"""Write a data set, or a part of it, as a folder of PNG images, DIR/train/<class>/* and DIR/test.

    python -m recipes.folder cifar10 nine --without truck
    python -m recipes.folder cifar10 few --train-per-class 100

To look at the images, to use them in other programs, or to try --data and recipes.finetune.
"""

from fnet.run.process import start_command

# Before the imports: a Ctrl-C during them ends the command quietly; without a GPU, no Triton.
if __name__ == "__main__":
    start_command()

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from rich.console import Console
from tyro.conf import Positional, arg

from fnet.data import Dataset, load
from fnet.data.load import expanded
from fnet.files import directory_atomically
from fnet.run.command import Tool
from fnet.run.config import ConfigError
from fnet.show.terminal import Display


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of `python -m recipes.folder`."""

    data: Positional[Annotated[str, arg(metavar="DATA")]]
    """The name of a data set, or a folder of images."""
    out: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The new folder; it must not exist."""
    root: str | None = None
    """The directory of the published data sets (else $FNET_DATA, else the cache directory)."""
    without: tuple[str, ...] = ()
    """Classes to leave out."""
    train_per_class: int | None = None
    """The number of training images of each class (default: all), the first ones."""


def _write(options: Options) -> int:
    if options.train_per_class is not None and options.train_per_class < 1:
        raise ConfigError(f"--train-per-class must be at least 1; got {options.train_per_class}")
    out, display = expanded(options.out), Display(Console())
    train, test = (load(options.data, options.root, split=split) for split in ("train", "test"))
    unknown = sorted(set(options.without) - set(train.classes))
    if unknown or set(options.without) == set(train.classes):
        problem = f"has no class {unknown[0]!r}" if unknown else "has no other classes"
        raise ConfigError(f"{train.name} {problem}; its classes are {', '.join(train.classes)}")
    try:
        with display.live(), directory_atomically(out) as folder:
            for name, part, most in (
                ("train", train, options.train_per_class),
                ("test", test, None),
            ):
                count = _write_split(folder / name, part, options.without, most, display)
                display.say(f"{out / name}: {count:,} images")
    except FileExistsError as error:
        raise ConfigError(f"{out} exists: give another folder, or remove it") from error
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    return 0


def _write_split(
    folder: Path, part: Dataset, without: tuple[str, ...], most: int | None, display: Display
) -> int:
    """Write the images of one split, and return how many there are."""
    counts = dict.fromkeys((name for name in part.classes if name not in without), 0)
    for name in counts:
        (folder / name).mkdir(parents=True)
    digits = len(str(len(part)))
    for place, label in enumerate(part.labels.tolist()):
        display.progress(folder.name, place + 1, len(part))
        name = part.classes[label]
        if name not in counts or counts[name] == most:
            continue
        counts[name] += 1
        pixels = part.images[place].permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image.save(folder / name / f"{place:0{digits}}.png")
    display.finish(folder.name)
    return sum(counts.values())


main = Tool("folder", __doc__, Options, _write)

if __name__ == "__main__":
    sys.exit(main())
