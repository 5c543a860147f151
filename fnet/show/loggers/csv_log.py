"""A logger that writes CSV: `metrics.csv` with a row for each epoch, and `steps.csv`."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnet.files import write_atomically
from fnet.show.loggers.logger import Start


class CsvLog:
    """Appends rows to the files in a directory, and writes each row immediately.

    The keys of the first row are the columns and the header of the file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, start: Start) -> None:
        """Remove the rows of steps and epochs that a resumed run repeats."""
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
        """Append a row to `steps.csv`."""
        self._append("steps.csv", {"step": step, **figures})

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Append a row to `metrics.csv`."""
        self._append("metrics.csv", line)

    def close(self) -> None:
        """Do nothing: all rows are written."""

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self._directory / name).open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


def _is_done(row: bytes, columns: list[bytes], column: bytes, done: int) -> bool:
    """Return whether a row is complete and of a step or epoch up to `done`.

    The last row of a run that was killed may be truncated.
    """
    number = dict(zip(columns, row.split(b","), strict=False)).get(column, b"")
    return row.endswith(b"\n") and number.isdigit() and int(number) <= done
