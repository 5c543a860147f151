"""The start of a command: what the process does without, and what the user is told meanwhile.

Imports nothing of fnet and, by itself, not torch: a program calls it before both.
"""

import logging
import os
import sys
from types import TracebackType


def leave_out_triton() -> None:
    """Have PyTorch go without Triton where no GPU is, as its builds for CPUs do.

    Triton compiles for GPUs. Where it is installed, a program that only uses the CPU spends time
    and memory on it at each start: to load it, and to hash its library for the keys of the compile
    cache. For programs (the recipes do it), before `torch._dynamo` is imported, as torchvision and
    the compiler do: in this process `import triton` fails from then on.
    """
    import torch

    if "triton" not in sys.modules and not torch.cuda.is_available():
        sys.modules["triton"] = None  # type: ignore[assignment]
        # It would say at each start that it cannot count what kernels of Triton compute.
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)


def start_command() -> None:
    """Begin a command, before it imports what takes seconds: to be called as `__main__` only.

    On a terminal the user is told what is waited for, Ctrl-C ends without a traceback from now on,
    and where no GPU is, PyTorch goes without Triton.
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
