"""The options common to all recipes: a frozen dataclass."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Literal, get_args
from urllib.parse import urlsplit

from fnet.data.fit import Fit

MAX_SIDE = 4096
"""The longest side of an image that `--size` gives, in pixels."""

Precision = Literal["auto", "bf16", "fp32"]
LoggerName = Literal["csv", "tensorboard", "visdom"]


class ConfigError(Exception):
    """An option that is not possible; the message says what was given and what was expected."""


@dataclass(frozen=True)
class Config:
    """Options common to all recipes."""

    data: str = "auto"
    """A data set name, a folder of images, or auto. A folder has train/<class>/* and test/<class>/*
    (or val), or only <class>/* with --test.
    auto: the recipe's data set, or the generated "shapes" if that is not available."""
    test: float | None = None
    """For a folder without train and test: the fraction of each class's images in the test split,
    such as 0.2. Which images is drawn from the seed."""
    size: str | None = None
    """Resize the images: 64 for 64 x 64 pixels, 64x48 for width x height. None: as they are."""
    fit: Fit = "crop"
    """How --size resizes an image of another aspect ratio. crop: the centre; pad: the whole image
    on black; stretch: the whole image, distorted."""
    root: str | None = None
    """The directory of the published data sets (else $FNET_DATA, else the cache directory)."""
    skip_broken: bool = False
    """Skip the broken images of a folder and list them, instead of stopping with an error."""
    init_from: str | None = None
    """Start from trained weights: a run directory, or a .safetensors, .pth or .pt file.
    Weights that do not fit, such as those of other classes, are drawn anew; a table lists them."""
    out: str = "runs"
    """The directory in which the run directory is created."""
    epochs: int = 10
    """The number of epochs."""
    batch_size: int = 128
    """The number of images in a training batch."""
    seed: int = 0
    """The seed of all random numbers."""
    limit: int | None = None
    """Train on this many images (default: all), with all classes in proportion."""
    target: float | None = None
    """Stop after the first epoch with at least this accuracy (0 to 1).
    Measured on the images that choose the best epoch."""
    validation: float = 0.0
    """The fraction of training images held out to choose the best epoch (0: the test images)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """The precision of forward and backward pass. auto: bf16 if the device is faster with it."""
    compile: bool = True
    """Compile the steps, if there is a C++ compiler."""
    kernels: Literal["auto", "library"] = "auto"
    """Kernels of compiled steps on a CPU. auto: fnet's if faster; library: PyTorch's only."""
    sync_bn: bool = False
    """With torchrun, batch norm normalises with the statistics of the whole batch.
    Else each process uses those of its own part, which is faster."""
    deterministic: bool = False
    """On a GPU, use only deterministic algorithms (slower). A CPU is always deterministic."""
    cpp_wrapper: bool = False
    """On a CPU, call the compiled kernels from C++ instead of Python: faster for small steps."""
    cuda_graph: bool = False
    """On a GPU, launch each compiled training step as one CUDA graph."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints within an epoch; there is also one after each epoch."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """If the loss or a weight is NaN or infinite: stop the run, or skip this step."""
    log: tuple[LoggerName, ...] = ()
    """Loggers for live curves. csv and tensorboard write to the run directory."""
    log_steps: int = 0
    """Steps between two logged steps. 0: log only epochs, but every step with visdom."""
    log_graph: bool = False
    """Write the network's graph to TensorBoard."""
    visdom: str = "http://localhost:8097"
    """The URL of the Visdom server."""

    def validate(self) -> None:
        """Check the options, as far as this is possible without the data.

        Raises:
            ConfigError: an option is out of its range.
        """
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{option(name)} must be at least 1; got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1; got {self.limit}")
        if self.target is not None and not 0 < self.target <= 1:
            raise ConfigError(f"--target must be above 0 and at most 1; got {self.target}")
        if self.test is not None and not 0 < self.test < 1:
            raise ConfigError(f"--test must be above 0 and below 1; got {self.test}")
        image_size(self.size)
        if not 0 <= self.validation < 1:
            raise ConfigError(f"--validation must be at least 0 and below 1; got {self.validation}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not value >= 0:
                raise ConfigError(f"{option(field.name)} must be at least 0; got {value}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed must be between 0 and {2**32 - 1}; got {self.seed}")
        self._validate_log()

    def _validate_log(self) -> None:
        names = get_args(LoggerName)
        for name in self.log:
            if name not in names:
                raise ConfigError(f"--log must be one or more of {', '.join(names)}; got {name!r}")
        if self.log_steps < 0:
            raise ConfigError(f"--log-steps must be at least 0; got {self.log_steps}")
        if self.log_steps and not self.log:
            raise ConfigError("--log-steps needs a logger: give also --log csv")
        if self.log_graph and "tensorboard" not in self.log:
            raise ConfigError("--log-graph needs TensorBoard: give also --log tensorboard")
        if "tensorboard" in self.log and find_spec("tensorboard") is None:
            raise ConfigError(
                '--log tensorboard needs TensorBoard: pip install "fnet[tensorboard]"'
            )
        if "visdom" in self.log and not _is_url(self.visdom):
            raise ConfigError(
                f"--visdom must be a URL such as http://localhost:8097; got {self.visdom!r}"
            )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False


def image_size(text: str | None) -> tuple[int, int] | None:
    """Return the height and width that `--size` gives as width x height.

    Raises:
        ConfigError: it is no size, or one of no or of too many pixels.

    >>> image_size("64"), image_size("64x48"), image_size(None)
    ((64, 64), (48, 64), None)
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) <= 2 and all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        width, height = int(sides[0]), int(sides[-1])
        if min(width, height) >= 1 and max(width, height) <= MAX_SIDE:
            return height, width
    raise ConfigError(
        f"--size must be one side in pixels, or width x height, such as 64 or 64x48 (each side 1 "
        f"to {MAX_SIDE}); got {text!r}"
    )


def option(name: str) -> str:
    """Return the command-line option of a config field.

    >>> option("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")
