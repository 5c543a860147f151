"""The options common to all recipes, as one frozen value."""

from dataclasses import dataclass

from fnet.environment import ConfigError, Precision


@dataclass(frozen=True)
class Config:
    """Options common to all recipes."""

    data: str = "auto"
    """auto (the recipe's data set, or where it cannot be had a short run on "shapes"), a name, or
    a folder with train/<class>/* and test/<class>/*."""
    root: str | None = None
    """The directory that holds published data sets (else $FNET_DATA, else the cache directory)."""
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
    validation: float = 0.0
    """The share of the training images, each class in proportion, that is held out to choose the
    best epoch on; 0: it is chosen on the test images, as the authors did."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Precision = "auto"
    """Of the forward and backward pass; auto is bf16 where the device gains from it."""
    compile: bool = True
    """Compile the steps, where there is a C++ compiler."""

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
        if not 0 <= self.validation < 1:
            raise ConfigError(f"--validation is at least 0 and below 1; got {self.validation}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is between 0 and {2**32 - 1}; got {self.seed}")


def option(name: str) -> str:
    """Return the command-line option of a config field.

    >>> option("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")
