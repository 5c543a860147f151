"""Live curves of a run: CSV files, TensorBoard, Visdom; one interface, composed."""

from fnet.logging.csv_log import CsvLog
from fnet.logging.logger import Logger, Start, compose
from fnet.logging.visdom import VisdomLog

__all__ = ["CsvLog", "Logger", "Start", "VisdomLog", "compose"]
