"""The connection of a run to its loggers: which figures they get, and when these are read."""

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
    """Logs the epochs of a run, and its steps if `every` is not 0.

    The figures of a step are means since the last logged step, or since the start of the epoch, or
    since the run was resumed within an epoch. Reading them synchronizes with the device, so they
    are read in batches, at most one a second.

    Args:
        logger: receives the figures.
        every: the number of steps between two logged steps; 0: only epochs are logged.
    """

    def __init__(self, logger: Logger, every: int = 0) -> None:
        self._logger, self._every = logger, every
        self._before: Metrics | None = None
        self._unread: list[tuple[int, Metrics | None, Metrics]] = []
        self._last_read = time.monotonic()

    def start(self, start: Start, sums: Metrics | None = None) -> None:
        """Start the logger; `sums` are those over the epoch's steps so far, if it has some."""
        self._before = sums or None
        self._logger.start(start)

    def step(self, record: Record) -> None:
        """Log a step, now or in a later batch."""
        if self._every and record.step % self._every == 0:
            self._unread.append((record.step, self._before, record.metrics))
            self._before = record.metrics
            if time.monotonic() - self._last_read >= _READ_SECONDS:
                self._read()

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Log an epoch, after its steps."""
        self._read()
        self._before = None
        self._logger.epoch(line)

    def close(self) -> None:
        """Log the remaining steps, and close the logger."""
        self._read()
        self._logger.close()

    def _read(self) -> None:
        for step, before, after in self._unread:
            sums = {k: v - before[k] for k, v in after.items()} if before else after
            self._logger.step(step, metrics.means(sums))
        self._unread.clear()
        self._last_read = time.monotonic()


def open_log(config: Config, name: str, directory: Path, warn: Callable[[str], None]) -> RunLog:
    """Return the log for the options of a config.

    Args:
        config: a config that has passed `validate`.
        name: the name of the run, "mnist_default": Visdom's window is "mnist_default_loss".
        directory: the run directory, for the CSV and event files.
        warn: called with a message if a logger fails.
    """
    loggers: list[Logger] = []
    if "csv" in config.log:
        loggers.append(CsvLog(directory))
    if "tensorboard" in config.log:
        # Imported here, because it is an optional dependency.
        from fnet.show.loggers.tensorboard import TensorBoardLog

        loggers.append(TensorBoardLog(directory, warn, graph=config.log_graph))
    if "visdom" in config.log:
        loggers.append(VisdomLog(config.visdom, f"{name}_loss", warn))
    every = config.log_steps or int("visdom" in config.log)
    return RunLog(compose(*loggers, warn=warn), every)
