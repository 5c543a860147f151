"""Loggers, which show a run while it trains: CSV files, TensorBoard, Visdom."""

from fnet.show.loggers.csv_log import CsvLog
from fnet.show.loggers.logger import Logger, Start, compose
from fnet.show.loggers.visdom import VisdomLog

__all__ = ["CsvLog", "Logger", "Start", "VisdomLog", "compose"]
