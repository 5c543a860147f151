"""The interface of a contender: streams of steps, and how they are timed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


class Stream(NamedTuple):
    """An endless sequence of steps of one kind.

    Attributes:
        steps: each item is one step done or, on an asynchronous device, launched.
        images: the number of images in a step.
        wait: waits until the step of this item is done.
    """

    steps: Iterator[Any]
    images: int
    wait: Callable[[Any], object] = lambda item: None


Streams: TypeAlias = dict[str, Stream]
"""The streams of a contender by kind: "train", and for some contenders "eval"."""


@dataclass(frozen=True)
class Measured:
    """A number of images, and the seconds that they took."""

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """The throughput in images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Sample(Measured):
    """Timed steps, and the peak memory of their process so far in bytes."""

    peak_memory: int


class Failure(NamedTuple):
    """The message of a contender that has failed."""

    message: str


def timed(stream: Stream, seconds: float) -> Sample:
    """Run complete steps, at least one, until this many seconds have passed.

    >>> timed(Stream(iter(range(10)), images=4), seconds=0).images
    4
    """
    images, begin = 0, time.perf_counter()
    while True:
        item = next(stream.steps)
        images += stream.images
        if time.perf_counter() - begin >= seconds:
            break
    stream.wait(item)
    return Sample(images, time.perf_counter() - begin, peak_memory())


def peak_memory() -> int:
    """Return the peak resident memory of this process, without worker processes, in bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        # Not on Linux: there, ru_maxrss is at least that of the parent process.
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024
