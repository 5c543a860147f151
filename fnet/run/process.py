"""The start of a command: what the process does without, and what the user is told meanwhile.

Imports nothing of fnet and, by itself, not torch: a program calls it before both.
"""

import logging
import os
import sys
from types import TracebackType


def leave_out_triton() -> None:
    """Disable Triton if there is no GPU, as in PyTorch's builds for CPUs.

    Triton compiles for GPUs. If it is installed, a program that only uses the CPU spends time and
    memory on it at each start: to load it, and to hash its library for the keys of the compile
    cache. Programs (the recipes do it) must call this before anything imports `torch._dynamo`,
    which torchvision and the compiler do. After it, `import triton` fails in this process.
    """
    import torch

    if "triton" not in sys.modules and not torch.cuda.is_available():
        sys.modules["triton"] = None  # type: ignore[assignment]
        # It would warn at each start that it cannot count the FLOPs of Triton kernels.
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)


def start_command() -> None:
    """Start a command, before its slow imports; only for a module that runs as `__main__`.

    On a terminal, this prints that PyTorch is being loaded. From now on Ctrl-C ends the process
    without a traceback, and if there is no GPU, Triton is disabled.
    """
    sys.excepthook = _say_stopped
    if sys.stderr.isatty():
        print("Loading PyTorch ...", file=sys.stderr)
    leave_out_triton()


def output_failed() -> bool:
    """Return whether standard output cannot be written to; if so, nothing more is.

    To be called after an `OSError`. Where it can be written to, it gets an empty line.
    """
    try:
        print(flush=True)
    except OSError:
        # What is still in the buffer must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _say_stopped(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
