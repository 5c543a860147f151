"""From the options of a run to its loggers."""

from collections.abc import Callable
from pathlib import Path

from fnet.run.config import Config
from fnet.run.log import RunLog
from fnet.show.loggers.csv_log import CsvLog
from fnet.show.loggers.logger import Logger, compose
from fnet.show.loggers.visdom import VisdomLog


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
