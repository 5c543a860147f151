"""The schemas of the files in a run directory: setup, environment, metrics, result, notes."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fnet.run.config import Config, ConfigError
from fnet.run.origin import Origin
from fnet.run.typed_json import ALWAYS, from_json

Status = Literal["complete", "stopped at target", "interrupted", "diverged"]

# Upper bounds for values in the files: larger than in any real run, small enough to handle.
MAX_EPOCHS = 10**9  # epochs of a run
MAX_IMAGES = 10**12  # images of a data set, or of a part of it
MAX_SIDE = 2**16  # an image's height, width or channels
MAX_VALUES = 2**28  # values of one image
MAX_THREADS = 4096  # threads of one operation
MAX_PROCESSES = 10**6  # processes of a run


@dataclass(frozen=True)
class Source:
    """The source of a run's first weights.

    Attributes:
        path: the file, absolute.
        checksum: its SHA-256, hexadecimal.
        loaded: the number of weights that the run began with.
        new: the names of the weights that were drawn anew, such as the head's.
        left_over: the number of weights in the file that the network does not have.
    """

    path: str
    checksum: str
    loaded: int
    new: tuple[str, ...] = ()
    left_over: int = 0


@dataclass(frozen=True)
class Setup:
    """The setup of a run, known before it starts: `config.json`.

    Attributes:
        recipe: the module of the recipe, or the path of its file; see `Origin`.
        variant: the variant of the recipe, or the label of the run in a sweep.
        config: the complete config; see `config_from_json`.
        data: the name of the data set.
        data_checksum: the checksum of all images and labels, see `Splits.checksum`.
        stand_in: whether the data set is a stand-in for the recipe's own.
        train_images: the number of training images.
        test_images: the number of test images.
        classes: the names of the classes, in the order of the logits.
        input_shape: (C, H, W) of the images.
        preprocess: see `fnet.run.preprocess_json`.
        inexact: why the resumed run is not bit for bit one that was never stopped.
        recipe_checksum: the checksum of the recipe's file; empty for a module, and in old records.
        source: where the first weights are from; None: they were drawn from the seed.
    """

    recipe: str
    variant: str
    config: dict[str, Any]
    data: str
    data_checksum: str
    stand_in: bool
    train_images: int
    test_images: int
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    preprocess: Any
    inexact: tuple[str, ...]
    recipe_checksum: str = ""
    source: Source | None = None

    @property
    def origin(self) -> Origin:
        """The recorded origin of the recipe."""
        return Origin(self.recipe, self.recipe_checksum)

    def __post_init__(self) -> None:
        for name in ("train_images", "test_images"):
            _require(name, getattr(self, name), 1 <= getattr(self, name) <= MAX_IMAGES)
        _require("classes", self.classes, bool(self.classes))
        possible = all(1 <= side <= MAX_SIDE for side in self.input_shape)
        possible = possible and math.prod(self.input_shape) <= MAX_VALUES
        _require("input_shape", self.input_shape, possible)


@dataclass(frozen=True)
class Environment:
    """The resolved device, settings and versions of a run: `environment.json`.

    Attributes:
        device, precision, compiled, threads, deterministic, processes: see
            `fnet.run.runtime.Runtime`. In older records, `processes` is missing and was 1.
        cpu: its name.
        gpu: its name, None where the run computes on the CPU.
        cores: how many the machine has, None where the system does not say.
        system: of the machine, "Linux".
        python, torch, torchvision, numpy: their versions.
    """

    device: str
    precision: Literal["bf16", "fp32"]
    compiled: bool
    threads: int
    deterministic: bool
    cpu: str
    gpu: str | None
    cores: int | None
    system: str
    python: str
    torch: str
    torchvision: str
    numpy: str
    processes: int = field(default=1, metadata=ALWAYS)

    def __post_init__(self) -> None:
        _require("threads", self.threads, 1 <= self.threads <= MAX_THREADS)
        _require("processes", self.processes, 1 <= self.processes <= MAX_PROCESSES)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The figures of one epoch: a line of `metrics.jsonl`.

    Attributes:
        epoch: the number of the epoch, counted from 1.
        step: the last step of the epoch.
        train_loss, train_accuracy: means over the training steps.
        test_loss, test_accuracy: on the test images, after the epoch.
        validation_loss, validation_accuracy: on the validation images, if there are some.
        learning_rate: the learning rate of the last step.
        seconds: the duration of the epoch, with evaluation.
        images_per_second: the throughput of training, without the first step.
        skipped_steps: the number of skipped steps, with `--on-nonfinite skip`.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float
    seconds: float
    images_per_second: float
    skipped_steps: int | None = None

    def __post_init__(self) -> None:
        _require("epoch", self.epoch, 1 <= self.epoch <= MAX_EPOCHS)

    @property
    def evaluated_accuracy(self) -> float:
        """The accuracy that the run is judged by: on its validation images, or the test images."""
        held_out = self.validation_accuracy
        return self.test_accuracy if held_out is None else held_out

    def figures(self) -> dict[str, float]:
        """Return the figures that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def best_line(lines: Sequence[Line]) -> Line | None:
    """Return the line of the best epoch, in training and from a record.

    It is the first line with the highest accuracy on the validation images, or on the test images
    if there are no validation images.
    """

    def accuracy(line: Line) -> float:
        value = line.evaluated_accuracy
        return -math.inf if math.isnan(value) else value

    return max(lines, key=accuracy, default=None)


@dataclass(frozen=True)
class Result:
    """The result of a run that has ended: `result.json`.

    Attributes:
        status: "complete", "stopped at target", "interrupted" by a signal, or "diverged" to
            non-finite numbers.
        step: the last step.
        data: the name of the data set.
        stand_in: whether this data set is a stand-in for the recipe's own.
        final: the line of the last complete epoch, or None.
        best: the line of the best epoch, or None.
        reported: the original author's figures, by name.
        reason: the reason of a divergence, else empty.
        seconds_to_accuracy: the seconds of the run after which each accuracy, in per cent, was
            first reached; see `fnet.run.time_to_accuracy`. Empty in older records.
    """

    status: Status
    step: int
    data: str
    stand_in: bool
    final: Line | None
    best: Line | None
    reported: dict[str, str]
    reason: str = ""
    seconds_to_accuracy: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """The note of a checkpoint: its content in addition to the tensors.

    Attributes:
        sums: the sums of the metrics in an epoch that has no line yet.
        lines: the lines of the complete epochs.
        best: the best epoch, counted from 1, or None if no epoch is complete.
        seconds: the seconds that the incomplete epoch has already taken.
    """

    sums: dict[str, float]
    lines: tuple[Line, ...]
    best: int | None
    seconds: float

    def __post_init__(self) -> None:
        epochs = [line.epoch for line in self.lines]
        _require("lines", epochs, epochs == list(range(1, len(epochs) + 1)))
        best = best_line(self.lines)
        _require("best", self.best, self.best == (best.epoch if best else None))


def config_from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a config from JSON values: the inverse of `dataclasses.asdict`.

    Args:
        kind: the recipe's `Config`.
        values: the fields; lists become tuples again. A missing field, which is newer than the
            run, has its default.

    Raises:
        ConfigError: a field is unknown, or its value has the wrong type.

    >>> config_from_json(Config, asdict(Config(epochs=3))).epochs
    3
    """
    try:
        return from_json(kind, values)
    except ValueError as error:
        raise ConfigError(
            f"the run's config {error}: the run is from another version of the recipe or of fnet; "
            "open it with that version, or train again"
        ) from error


def _require(name: str, value: object, possible: bool) -> None:
    if not possible:
        raise ValueError(f"has {reprlib.repr(value)} for {name!r}, which is not possible")
