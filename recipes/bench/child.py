"""The process of a contender: it sets itself up, then runs whenever it is asked to.

`python -m recipes.bench.child FD` is started by `recipes.bench.remote`. It is no fork and imports
nothing but what the contender needs, so that its time to start and its memory are its own.
"""

import os
import pkgutil
import sys
from multiprocessing.connection import Connection

from recipes.bench.contender import Failure, Streams, timed


def main(descriptor: int) -> None:
    """Serve the pipe.

    In: `(work, candidate)`; out: the kinds of streams. Then in: `(kind, seconds)`, out: a `Sample`,
    until None comes in. Where something fails, out: a `Failure`, and the process ends.
    """
    os.set_inheritable(descriptor, False)
    pipe = Connection(descriptor)
    try:
        work, candidate = pipe.recv()
        streams: Streams = pkgutil.resolve_name(candidate.make)(work, **candidate.options)
        pipe.send(tuple(streams))
        for kind, seconds in iter(pipe.recv, None):
            pipe.send(timed(streams[kind], seconds))
    except Exception as error:
        pipe.send(Failure(f"{type(error).__name__}: {error}".partition("\n")[0]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
