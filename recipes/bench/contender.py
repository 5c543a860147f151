"""What a contender is: streams of steps, which can be timed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


class Stream(NamedTuple):
    """Endless steps of one kind.

    Attributes:
        steps: each item is one step done or, on a device that works by itself, begun.
        images: how many a step takes.
        wait: waits until a step is done; is given the step's item.
    """

    steps: Iterator[Any]
    images: int
    wait: Callable[[Any], object] = lambda item: None


Streams: TypeAlias = dict[str, Stream]
"""What a contender is made of: "train", and with some "eval"."""


@dataclass(frozen=True)
class Measured:
    """How many images took how many seconds."""

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Sample(Measured):
    """Steps that were timed, and their process's largest memory so far in bytes."""

    peak_memory: int


class Failure(NamedTuple):
    """Why a contender cannot go on."""

    message: str


def timed(stream: Stream, seconds: float) -> Sample:
    """Run whole steps, at least one, until this many seconds have passed.

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
    """Return the largest resident memory of this process so far, in bytes.

    Its own only: worker processes are not counted.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        # Elsewhere only: on Linux this figure is at least that of the process that started this.
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024
