"""The splits of a run's data: train, test and validation images, or a stand-in data set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from fnet import data, files
from fnet.data import DataError, Dataset
from fnet.data.dataset import quoted
from fnet.run.config import Config, ConfigError
from fnet.show.terminal import Display

STAND_IN = "shapes"
STAND_IN_EPOCHS = 2


class Sizes(TypedDict):
    """The number of classes, of channels, and of pixels on a side."""

    classes: int
    channels: int
    size: int


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
        channels, size, _ = self.input_shape
        return {"classes": len(self.train.classes), "channels": channels, "size": size}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def open_splits(name: str, config: Config, display: Display) -> tuple[Config, Splits, bool]:
    """Return the config, the splits, and whether the data are a stand-in for the data set `name`.

    With `--data auto`, the data set is `name`, or the generated "shapes" if `name` is not
    available; in that case the returned config has fewer epochs. For any other `--data` there is
    no stand-in.

    Raises:
        ConfigError: the limit, the validation fraction or the batch size does not fit the data.
        DataError: the data are not available, or not as expected.
    """
    stand_in = False
    try:
        splits = _load(name if config.data == "auto" else config.data, config, display)
    except DataError as error:
        if config.data != "auto":
            raise
        stand_in = True
        config = replace(config, epochs=min(config.epochs, STAND_IN_EPOCHS))
        display.panel(
            f"{error}\n\nThis run uses {STAND_IN!r} instead, a generated data set of ten classes, "
            f"for at most {STAND_IN_EPOCHS} epochs. It only shows that everything works. To get an "
            f"error instead: --data {name}. To use a folder of images: --data DIR.",
            title=f"{name} is not available",
        )
        splits = _load(STAND_IN, config, display)
    if config.limit is not None:
        _require_at_most("--limit", config.limit, splits.train, "")
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
    cut = " that --limit and --validation leave" if config.limit or config.validation else ""
    _require_at_most("--batch-size", config.batch_size, splits.train, cut)
    return config, splits, stand_in


def _require_at_most(option: str, size: int, train: Dataset, which: str) -> None:
    if size > len(train):
        raise ConfigError(
            f"{option} {size} is more than the {len(train)} training images of {train.name}"
            f"{which}: give at most {len(train)}"
        )


def _load(name: str, config: Config, display: Display) -> Splits:
    """Load both splits of a data set, each with a progress bar."""

    def load(split: data.Split) -> Dataset:
        bar = f"loading {split}"
        display.wait(bar)
        loaded = data.load(
            name,
            config.root,
            split=split,
            skip_broken=config.skip_broken,
            on_progress=lambda done, total: display.progress(bar, done, total),
        )
        display.finish(bar)
        if loaded.skipped:
            count = f"{len(loaded.skipped)} of the {split} files are broken and were skipped"
            display.say(f"{count}: {quoted(loaded.skipped)}", "yellow")
        return loaded

    return Splits(load("train"), load("test"))
