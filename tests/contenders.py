"""Contenders for tests of the benchmark, and what they are given to do."""

import os
import signal
import sys
import time
from dataclasses import replace

from recipes.bench.contender import Stream
from recipes.bench.roster import Candidate
from recipes.bench.work import SGD, Work

WORK = Work(
    network="net",
    recipe="recipes.net",
    variant="author",
    optimizer=SGD(1e-3),
    augmented=False,
    batch_size=4,
    classes=10,
    folder="",
    device="cpu",
    bf16=False,
    compiled=False,
    threads=1,
)


def work(folder="", **changes):
    """Return work on the arrays of a folder."""
    return replace(WORK, folder=str(folder), **changes)


def form(name, **options):
    """Return the candidate of a function of this module."""
    return Candidate(f"contenders:{name}", name, options)


def steady(work, pause=0.001):
    """Train four images in each pause."""

    def steps():
        while True:
            time.sleep(pause)
            yield

    return {"train": Stream(steps(), 4), "eval": Stream(steps(), 8)}


def failing(work):
    """Fail at once."""
    raise RuntimeError("there is no bench\nand more lines")


def killed(work, after=0):
    """Be killed after some steps."""

    def steps():
        for _ in range(after):
            yield
        os.kill(os.getpid(), signal.SIGKILL)

    return {"train": Stream(steps(), 4)}


def ending(work):
    """End the process, and say why on standard error."""
    print("no more of this", file=sys.stderr, flush=True)
    os._exit(3)
