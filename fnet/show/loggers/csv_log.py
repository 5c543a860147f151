"""A run's figures as CSV: `metrics.csv`, a row an epoch, and `steps.csv` on request."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnet.files import write_atomically
from fnet.show.loggers.logger import Start


class CsvLog:
    """Adds to the files in a directory; each row is on disk as soon as it is known.

    The columns are the entries of the first row, which the file has as its heading.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, start: Start) -> None:
        """Take out the rows of steps and epochs that are done again."""
        for name, column, done in (
            ("metrics.csv", b"epoch", start.epoch),
            ("steps.csv", b"step", start.step),
        ):
            file = self._directory / name
            if file.exists():
                heading, *rows = file.read_bytes().splitlines(keepends=True) or [b""]
                columns = heading.rstrip().split(b",")
                kept = [row for row in rows if _is_done(row, columns, column, done)]
                write_atomically(file, b"".join([heading, *kept]))

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


def _is_done(row: bytes, columns: list[bytes], column: bytes, done: int) -> bool:
    """Say whether a row is whole, which the last of a run that was killed may not be, and done."""
    number = dict(zip(columns, row.split(b","), strict=False)).get(column, b"")
    return row.endswith(b"\n") and number.isdigit() and int(number) <= done
