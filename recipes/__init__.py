"""Experiments, one module each: `python -m recipes.dainet7`."""

import re
import sys
from types import TracebackType

from fnet.run.process import leave_out_triton


def _say_stopped(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


# While the module's name is still being looked up: what takes seconds is imported after this. Not
# for modules of packages: a contender of `recipes.bench` imports what it needs, and no more.
if sys.argv[0] == "-m" and any(re.fullmatch(r"recipes\.\w+", word) for word in sys.orig_argv):
    sys.excepthook = _say_stopped
    if sys.stderr.isatty():
        print("Loading PyTorch ...", file=sys.stderr)
    leave_out_triton()
