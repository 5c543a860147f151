"""The interface of a logger: it receives the start, steps, epochs and end of a run."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Start:
    """What a logger can show before a run starts or resumes.

    Attributes:
        config: the complete config of the run.
        images: uint8 `[N, C, H, W]`, some of the training images.
        example: `[1, C, H, W]`, one of them, preprocessed.
        module: returns the network with its current weights as an ordinary `nn.Module`.
        step: the number of steps done. A resumed run repeats later steps and logs them again.
        epoch: the number of epochs done and logged. The same is true for later epochs.
    """

    config: Mapping[str, Any]
    images: Tensor
    example: Tensor
    module: Callable[[], nn.Module]
    step: int = 0
    epoch: int = 0


class Logger(Protocol):
    """Shows a run while it trains; must not change the run, nor block it for long."""

    def start(self, start: Start) -> None:
        """Start, before the first step."""

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Show the training figures ("loss", "accuracy") of this step, counted from 1."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Show the metrics line of an epoch: "epoch", "step", "train_loss", "test_loss", ..."""

    def close(self) -> None:
        """Write what is still buffered, at the end of the run, also after an error."""


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
                self._warn(
                    f"{type(logger).__name__} failed ({reason}): training continues without it."
                )


def compose(*loggers: Logger, warn: Callable[[str], None] = warnings.warn) -> Logger:
    """Return a logger that calls each of these in order; with none, one that does nothing.

    A logger that raises an `OSError` (a full disk) is removed, and `warn` is called.

    >>> compose().epoch({"epoch": 1})
    """
    return _Composed(loggers, warn)
