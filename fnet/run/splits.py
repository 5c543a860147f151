"""The splits of a run's data: train, test and validation images, or a stand-in data set."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from torch import Tensor

from fnet import data, files, random
from fnet.data import DataError, Dataset
from fnet.data.dataset import quoted
from fnet.data.files.names import passed_over
from fnet.data.fit import Fit
from fnet.data.load import expanded, is_divided, is_folder
from fnet.run.config import Config, ConfigError, image_size
from fnet.show.terminal import Display

STAND_IN = "shapes"
STAND_IN_EPOCHS = 2
_FEW = 8  # images tell the shape: one, but for a folder of grey and coloured ones
_TEST_STREAM = 0x7E57  # folded into the key of the seed: no other stream of a run uses it

_AnyConfig = TypeVar("_AnyConfig", bound=Config)


class Sizes(TypedDict):
    """The number of classes, of channels, and of pixels in height and width."""

    classes: int
    channels: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Splits:
    """The training, test and validation images.

    The best epoch is chosen on the validation images, or on the test images if there are none.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None

    @property
    def checksum(self) -> str:
        """What tells these images and labels from others; see `fnet.files.checksum`."""
        return files.checksum(self._parts())

    def has_checksum(self, recorded: str) -> bool:
        """Return whether a checksum, also one that an older version recorded, is of these data."""
        return files.has_checksum(self._parts(), recorded)

    def _parts(self) -> Iterator[Any]:
        for part in (self.train, self.test, self.validation):
            if part is not None:
                for tensor in (part.images.permute(0, 2, 3, 1), part.labels):
                    yield tensor.cpu().contiguous().numpy()

    @property
    def sizes(self) -> Sizes:
        """The arguments of the functions of `fnet.models` that depend on the data."""
        channels, *size = self.input_shape
        return {
            "classes": len(self.train.classes),
            "channels": channels,
            "size": (size[0], size[1]),
        }

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


class Options(TypedDict):
    """The options of `fnet.data.load` that are options of a run."""

    size: tuple[int, int] | None
    fit: Fit
    test: float | None
    key: Tensor
    skip_broken: bool


def load_options(config: Config) -> Options:
    """Return the options with which the images of a run are loaded, also after its training.

    The key that divides a folder without a split is a function of the seed only.
    """
    return {
        "size": image_size(config.size),
        "fit": config.fit,
        "test": config.test,
        "key": random.fold_in(random.key(config.seed), _TEST_STREAM),
        "skip_broken": config.skip_broken,
    }


def with_absolute_paths(config: _AnyConfig) -> _AnyConfig:
    """Return the config with absolute paths of the data: a run is opened from any directory."""
    data, root = config.data, config.root
    if data != "auto" and is_folder(data):
        data = os.path.abspath(expanded(data))
    if root:
        root = os.path.abspath(expanded(root))
    return replace(config, data=data, root=root)


def require_in_place(config: Config, path: Path) -> None:
    """Raise a DataError if the folder of images of the run at `path` is not where it was."""
    folder = config.data != "auto" and is_folder(config.data)
    if folder and not os.path.exists(expanded(config.data)):
        raise DataError(
            f"the images of the run {path} are not in {config.data}: there is no such folder, or "
            "you have no permission to read it. Give the place where they are now, --data DIR"
        )


def open_splits(name: str, config: Config, display: Display) -> tuple[Config, Splits, bool]:
    """Return the config, the splits, and whether the data are a stand-in for the data set `name`.

    With `--data auto`, the data set is `name`, or the generated "shapes" if `name` is not
    available; in that case the returned config has fewer epochs. For any other `--data` there is
    no stand-in. If the batch size is more than the training images, the returned config has their
    number.

    Raises:
        ConfigError: the limit or the validation fraction does not fit the data, or `--test` is
            given for data that have a split.
        DataError: the data are not available, or not as expected.
    """

    def load(data_set: str) -> Splits:
        return _load(data_set, config, display)

    splits, stand_in = _or_stand_in(name, config, display, load)
    if stand_in:
        config = replace(config, epochs=min(config.epochs, STAND_IN_EPOCHS))
    splits = reduced(config, splits)
    n = len(splits.train)
    if config.batch_size > n:
        display.say(
            f"The batch size is cut from {config.batch_size} to {n}: there "
            f"{'is only 1 training image' if n == 1 else f'are only {n} training images'}. "
            "A smaller --batch-size makes more steps of an epoch."
        )
        config = replace(config, batch_size=n)
    return config, splits, stand_in


def open_one(name: str, config: Config, display: Display) -> Splits:
    """Return splits of the shape and the classes of the data, of which few images are read.

    All their images are the first. It is for a recipe to build the network, not to train it.

    Raises:
        DataError, ConfigError: as for `open_splits`.
    """

    def load(folder: str) -> Splits:
        options = _checked_options(folder, config)
        one = data.load(folder, config.root, limit=_FEW, **options)
        n = max(config.batch_size, 2)
        images = one.images[:1].expand(n, *one.images.shape[1:])
        many = replace(one, images=images, labels=one.labels[:1].expand(n))
        return Splits(many, many)

    return _or_stand_in(name, config, display, load)[0]


def _or_stand_in(
    name: str, config: Config, display: Display, load: Callable[[str], Splits]
) -> tuple[Splits, bool]:
    """Return the splits, and whether they are of the stand-in for the data set `name`."""
    try:
        return load(name if config.data == "auto" else config.data), False
    except DataError as error:
        if config.data != "auto":
            raise
        display.panel(
            f"{error}\n\nThis run uses {STAND_IN!r} instead, a generated data set of ten classes, "
            f"for at most {STAND_IN_EPOCHS} epochs. It only shows that everything works. To get an "
            f"error instead: --data {name}. To use a folder of images: --data DIR.",
            title=f"{name} is not available",
        )
        return load(STAND_IN), True


def reduced(config: Config, splits: Splits) -> Splits:
    """Return the splits that `--limit` and `--validation` leave."""
    if config.limit is not None:
        if config.limit > len(splits.train):
            raise ConfigError(
                f"--limit {config.limit} is more than the {len(splits.train)} training images of "
                f"{splits.train.name}: give at most {len(splits.train)}"
            )
        splits = replace(splits, train=splits.train.take(config.limit))
    if config.validation:
        held_out = round(config.validation * len(splits.train))
        if not 1 <= held_out < len(splits.train):
            raise ConfigError(
                f"--validation {config.validation} of {len(splits.train)} training images is "
                f"{held_out}: choose a fraction that holds out at least one image and leaves one"
            )
        train, validation = splits.train.hold_out(held_out)
        splits = replace(splits, train=train, validation=validation)
    return splits


def _load(name: str, config: Config, display: Display) -> Splits:
    """Load both splits of a data set, each with a progress bar."""
    options = _checked_options(name, config)

    def load(split: data.Split, limit: int | None) -> Dataset:
        bar = f"loading {split}"
        display.wait(bar)
        loaded = data.load(
            name,
            config.root,
            split=split,
            limit=limit,
            on_progress=lambda done, total: display.progress(bar, done, total),
            **options,
        )
        display.finish(bar)
        if loaded.skipped:
            which = f"{split} " if is_divided(name) else ""
            count = f"{len(loaded.skipped)} of the {which}files are broken and were skipped"
            display.say(f"{count}: {quoted(loaded.skipped)}", "yellow")
        return loaded

    train, test = load("train", config.limit), load("test", None)
    if train.ignored:  # of both splits
        display.say(passed_over(train.ignored), "yellow")
    channels = max(train.images.shape[1], test.images.shape[1])
    return Splits(train.with_channels(channels), test.with_channels(channels))


def _checked_options(name: str, config: Config) -> Options:
    if config.test is not None and not is_folder(name):
        raise ConfigError(
            f"--test is for a folder without train and test, and {name} has a test split: do not "
            "give --test"
        )
    return load_options(config)
