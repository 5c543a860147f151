"""The options common to all recipes, as one frozen value."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Literal, get_args
from urllib.parse import urlsplit

Precision = Literal["auto", "bf16", "fp32"]
LoggerName = Literal["csv", "tensorboard", "visdom"]


class ConfigError(Exception):
    """An option that cannot be: what was given, what was expected."""


@dataclass(frozen=True)
class Config:
    """Options common to all recipes."""

    data: str = "auto"
    """A name, a folder with train/<class>/* and test/<class>/*, or auto: the recipe's or shapes."""
    root: str | None = None
    """The directory that holds published data sets (else $FNET_DATA, else the cache directory)."""
    skip_broken: bool = False
    """Leave out the broken images of a folder, and say which; else they are an error."""
    out: str = "runs"
    """The directory in which the run gets a directory of its own."""
    epochs: int = 10
    """How many times to go through the training images."""
    batch_size: int = 128
    """Images in a training batch."""
    seed: int = 0
    """The seed of everything random."""
    limit: int | None = None
    """How many training images to use (all by default), each class in proportion."""
    target: float | None = None
    """Stop once an epoch ends with this accuracy, 0..1, on the images the best is chosen on."""
    validation: float = 0.0
    """The share of training images held out to choose the best epoch on; 0: on the test images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """Of the forward and backward pass; auto is bf16 where the device gains from it."""
    compile: bool = True
    """Compile the steps, where there is a C++ compiler."""
    kernels: Literal["auto", "library"] = "auto"
    """Operations of compiled steps on a CPU: auto takes fnet's kernels where they are quicker."""
    deterministic: bool = False
    """On a GPU: the same bits every time, at the cost of speed. A CPU needs no telling."""
    cpp_wrapper: bool = False
    """On a CPU: have C++ call a step's kernels, not Python: small steps are quicker to run."""
    cuda_graph: bool = False
    """On a GPU: launch each compiled training step as one CUDA graph."""
    checkpoint_minutes: float = 5.0
    """Minutes from one checkpoint to the next inside an epoch; each epoch ends with one."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """At a step whose loss or weights are not finite: stop the run, or leave the step out."""
    log: tuple[LoggerName, ...] = ()
    """Where to show live curves: csv and tensorboard write to the run's directory."""
    log_steps: int = 0
    """Show every so many steps as well; 0: epochs only, but every step with visdom."""
    log_graph: bool = False
    """Show the network's graph in TensorBoard."""
    visdom: str = "http://localhost:8097"
    """The address of the Visdom server."""

    def validate(self) -> None:
        """Check what can be checked without data.

        Raises:
            ConfigError: an option is out of its range.
        """
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{option(name)} is at least 1; got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is at least 1; got {self.limit}")
        if self.target is not None and not 0 < self.target <= 1:
            raise ConfigError(f"--target is an accuracy above 0 and at most 1; got {self.target}")
        if not 0 <= self.validation < 1:
            raise ConfigError(f"--validation is at least 0 and below 1; got {self.validation}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not value >= 0:
                raise ConfigError(f"{option(field.name)} is at least 0; got {value}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is between 0 and {2**32 - 1}; got {self.seed}")
        self._validate_log()

    def _validate_log(self) -> None:
        names = get_args(LoggerName)
        for name in self.log:
            if name not in names:
                raise ConfigError(f"--log is of {', '.join(names)}; got {name!r}")
        if self.log_steps < 0:
            raise ConfigError(f"--log-steps is at least 0; got {self.log_steps}")
        if self.log_steps and not self.log:
            raise ConfigError("--log-steps says how often, but not where: give --log csv, too")
        if self.log_graph and "tensorboard" not in self.log:
            raise ConfigError("--log-graph is for TensorBoard: give --log tensorboard, too")
        if "tensorboard" in self.log and find_spec("tensorboard") is None:
            raise ConfigError(
                '--log tensorboard needs TensorBoard: pip install "fnet[tensorboard]"'
            )
        if "visdom" in self.log and not _is_address(self.visdom):
            raise ConfigError(
                f"--visdom is an address such as http://localhost:8097; got {self.visdom!r}"
            )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def option(name: str) -> str:
    """Return the command-line option of a config field.

    >>> option("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")
