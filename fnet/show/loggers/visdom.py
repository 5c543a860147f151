"""A logger that sends the loss to one window of a Visdom server, from a background thread.

Uses two HTTP requests of Visdom 0.2.4, `/events` and `/update`, without the visdom package.
"""

import json
import math
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from queue import Empty, Full, Queue
from typing import Any, NamedTuple

from fnet.show.loggers.logger import Start

# The capacity of the queue for a slow server; further points are dropped.
_PENDING = 10_000
_BATCH_SECONDS = 1.0
_REPLY_SECONDS = 10.0
_CLOSE_SECONDS = 3.0


class _Point(NamedTuple):
    """A point of one curve."""

    line: str
    step: int
    loss: float


class VisdomLog:
    """Plots the losses over the step: "train" from steps, "test" and "validation" from epochs.

    The window, in the environment "main", replaces an older one of the same name. Points are sent
    in batches, at most one a second. If the server fails, there is one warning, and nothing is sent
    from then on.

    Args:
        url: the URL of the server, "http://localhost:8097".
        window: the name of the window, "mnist_default_loss".
        warn: called once, from the background thread, if the server fails.
    """

    def __init__(self, url: str, window: str, warn: Callable[[str], None]) -> None:
        self._url, self._window, self._warn = url.rstrip("/"), window, warn
        self._points: Queue[_Point] = Queue(_PENDING)
        self._closing, self._failed = threading.Event(), threading.Event()
        self._exists = False
        # A daemon thread, so that a server that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def start(self, start: Start) -> None:
        """Start the background thread."""
        self._thread.start()

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Queue the training loss of a step."""
        self._put(_Point("train", step, figures["loss"]))

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Queue the losses of an epoch's evaluations."""
        for split in ("test", "validation"):
            if f"{split}_loss" in line:
                self._put(_Point(split, line["step"], line[f"{split}_loss"]))

    def close(self) -> None:
        """Send the queued points; wait for at most 3 seconds."""
        self._closing.set()
        if self._thread.ident is None:
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            self._fail("it is too slow")

    def _put(self, point: _Point) -> None:
        with suppress(Full):  # better a gap in the curve than a run that waits
            self._points.put_nowait(point)

    def _send_all(self) -> None:
        while not self._failed.is_set():
            closing = self._closing.wait(_BATCH_SECONDS)
            try:
                self._send(self._batch())
            except (OSError, HTTPException, ValueError) as error:
                self._fail(str(error))
            if closing:
                return

    def _batch(self) -> dict[str, list[_Point]]:
        """Return the queued points, by curve."""
        lines: dict[str, list[_Point]] = {}
        try:
            while True:
                point = self._points.get_nowait()
                lines.setdefault(point.line, []).append(point)
        except Empty:
            return lines

    def _send(self, lines: Mapping[str, list[_Point]]) -> None:
        for name, points in lines.items():
            message = {
                "win": self._window,
                "eid": "main",
                "name": name,
                "data": [_trace(name, points)],
                "append": True,
                "layout": {
                    "title": self._window,
                    "xaxis": {"title": "step"},
                    "yaxis": {"title": "loss"},
                },
                "opts": {"title": self._window},
            }
            # The first request replaces the window of an earlier run.
            self._post("update" if self._exists else "events", message)
            self._exists = True

    def _post(self, path: str, message: Mapping[str, Any]) -> None:
        """Send a request and wait for the response.

        Raises:
            OSError: the server cannot be reached, takes too long, or answers with an error.
            HTTPException, ValueError: the response is not HTTP, or the URL is invalid.
        """
        request = urllib.request.Request(
            f"{self._url}/{path}",
            json.dumps(message).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_REPLY_SECONDS) as response:
            response.read(1000)

    def _fail(self, reason: str) -> None:
        if not self._failed.is_set():
            self._failed.set()
            self._warn(
                f"Visdom does not answer at {self._url} ({reason}): training continues without it. "
                "Start a server, or give --visdom URL."
            )


def _trace(name: str, points: list[_Point]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "scatter",
        "mode": "lines",
        "x": [point.step for point in points],
        # JSON has neither NaN nor infinity: such a point is a gap.
        "y": [point.loss if math.isfinite(point.loss) else None for point in points],
    }
