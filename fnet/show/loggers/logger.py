"""What a logger is: told of a run's start, steps, epochs and end, it shows them somewhere."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Start:
    """What there is to show before a run begins, or goes on.

    Attributes:
        config: the complete config of the run.
        images: uint8 `[N, C, H, W]`, some of the training images.
        example: `[1, C, H, W]`, one of them as the network sees it.
        module: makes the network, with its weights at that time, as an ordinary `nn.Module`.
        step: how many steps are done: what was shown of later ones is shown again.
        epoch: how many epochs are done, and told of: the same holds of them.
    """

    config: Mapping[str, Any]
    images: Tensor
    example: Tensor
    module: Callable[[], nn.Module]
    step: int = 0
    epoch: int = 0


class Logger(Protocol):
    """Shows a run while it goes on; changes nothing in it, and never holds it up for long."""

    def start(self, start: Start) -> None:
        """Begin, before the first step."""

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Show the training figures ("loss", "accuracy") reached at this step, counted from 1."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Show the metrics line of an epoch: "epoch", "step", "train_loss", "test_loss", ..."""

    def close(self) -> None:
        """Write what is left, at the end of the run, however it ends."""


class _Composed:
    def __init__(self, loggers: tuple[Logger, ...], warn: Callable[[str], None]) -> None:
        self._loggers, self._warn = list(loggers), warn

    def start(self, start: Start) -> None:
        self._tell(lambda logger: logger.start(start))

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self._tell(lambda logger: logger.step(step, figures))

    def epoch(self, line: Mapping[str, Any]) -> None:
        self._tell(lambda logger: logger.epoch(line))

    def close(self) -> None:
        self._tell(lambda logger: logger.close())

    def _tell(self, tell: Callable[[Logger], None]) -> None:
        for logger in tuple(self._loggers):
            try:
                tell(logger)
            except OSError as error:
                self._loggers.remove(logger)
                reason = error.strerror or error
                self._warn(f"{type(logger).__name__} ends ({reason}): training goes on without it.")


def compose(*loggers: Logger, warn: Callable[[str], None] = warnings.warn) -> Logger:
    """Return the logger that tells each of these, in their order; of none, one that does nothing.

    One that cannot write (a full disk) is left out from then on, and `warn` is told.

    >>> compose().epoch({"epoch": 1})
    """
    return _Composed(loggers, warn)
