"""The child process of a contender: it sets up the contender, then runs steps on request.

`recipes.bench.remote` starts it with `python -m recipes.bench.child FD`. It is not a fork, and
imports only what the contender needs, so its start-up time and memory are those of the contender.
"""

import os
import pkgutil
import sys
from multiprocessing.connection import Connection

from recipes.bench.contender import Failure, Streams, timed


def main(descriptor: int) -> None:
    """Serve requests from the pipe.

    The first request is `(work, candidate)`, answered by the kinds of streams. All others are
    `(kind, seconds)`, each answered by a `Sample`, until None. After an error, the answer is a
    `Failure`, and the process ends.
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
