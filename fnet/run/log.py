"""A run's side of its loggers: what it tells them, and when it waits for the device to do so."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fnet import metrics
from fnet.loop import Record
from fnet.metrics import Metrics
from fnet.run.config import Config
from fnet.show.loggers.csv_log import CsvLog
from fnet.show.loggers.logger import Logger, Start, compose
from fnet.show.loggers.visdom import VisdomLog

_READ_SECONDS = 1.0


class RunLog:
    """Tells a logger of the epochs of a run, and of its steps where that is asked for.

    The figures of a step are means since the last step told of, or since the epoch's start, or in
    an epoch that goes on since then. They are read from the device in batches, one a second at
    most: with `every=0` never.

    Args:
        logger: is told.
        every: steps from one that it is told of to the next; 0: it is told of epochs only.
    """

    def __init__(self, logger: Logger, every: int = 0) -> None:
        self._logger, self._every = logger, every
        self._before: Metrics | None = None
        self._unread: list[tuple[int, Metrics | None, Metrics]] = []
        self._last_read = time.monotonic()

    def start(self, start: Start, sums: Metrics | None = None) -> None:
        """Tell of the start; in the middle of an epoch with the sums over its steps so far."""
        self._before = sums or None
        self._logger.start(start)

    def step(self, record: Record) -> None:
        """Take note of a step."""
        if self._every and record.step % self._every == 0:
            self._unread.append((record.step, self._before, record.metrics))
            self._before = record.metrics
            if time.monotonic() - self._last_read >= _READ_SECONDS:
                self._read()

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Tell of an epoch, after its steps."""
        self._read()
        self._before = None
        self._logger.epoch(line)

    def close(self) -> None:
        """Tell of what is left, and of the end."""
        self._read()
        self._logger.close()

    def _read(self) -> None:
        for step, before, after in self._unread:
            sums = {k: v - before[k] for k, v in after.items()} if before else after
            self._logger.step(step, metrics.means(sums))
        self._unread.clear()
        self._last_read = time.monotonic()


def open_log(config: Config, name: str, directory: Path, warn: Callable[[str], None]) -> RunLog:
    """Return the log that a config asks for.

    Args:
        config: has passed `validate`.
        name: of the run, "mnist_default": Visdom's window is "mnist_default_loss".
        directory: gets the CSV and event files.
        warn: is told what does not work, and does not end the run.
    """
    loggers: list[Logger] = []
    if "csv" in config.log:
        loggers.append(CsvLog(directory))
    if "tensorboard" in config.log:
        # Here, because it comes with an extra that other runs do without.
        from fnet.show.loggers.tensorboard import TensorBoardLog

        loggers.append(TensorBoardLog(directory, warn, graph=config.log_graph))
    if "visdom" in config.log:
        loggers.append(VisdomLog(config.visdom, f"{name}_loss", warn))
    every = config.log_steps or int("visdom" in config.log)
    return RunLog(compose(*loggers, warn=warn), every)
