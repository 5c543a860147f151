"""A run's figures as CSV: `metrics.csv`, a row an epoch, and `steps.csv` on request."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnet.logging.logger import Start


class CsvLog:
    """Adds to the files in a directory; each row is on disk as soon as it is known.

    The columns are the entries of the first row, which the file has as its heading.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, start: Start) -> None:
        """Do nothing: the config is beside the files."""

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a row to `steps.csv`."""
        self._append("steps.csv", {"step": step, **figures})

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Add a row to `metrics.csv`."""
        self._append("metrics.csv", line)

    def close(self) -> None:
        """Do nothing: all is written."""

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self._directory / name).open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
