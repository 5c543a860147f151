"""Live curves of a run: CSV files, TensorBoard, Visdom; one interface, composed."""

from fnet.show.loggers.csv_log import CsvLog
from fnet.show.loggers.logger import Logger, Start, compose
from fnet.show.loggers.visdom import VisdomLog

__all__ = ["CsvLog", "Logger", "Start", "VisdomLog", "compose"]
