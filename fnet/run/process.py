"""Settings of the whole process: its start, how malloc treats large blocks, and no Triton.

Imports nothing of fnet and, by itself, not torch: a program calls it before both.

A training step frees and allocates the same hundreds of megabytes over and over. By default glibc
gives every large block back to the system, which maps it anew, page by page, at the next step. To
keep them is quicker, but where small blocks that stay come to lie between them, later ones do not
fit any more, and the process grows; compiling a function and its first call leave many. So a
program (the recipes do it) calls `map_large_blocks` when it begins, and makes the first call of a
step within `apart`, after which freed memory is kept.

Both hold for the whole process and change no result; where the C library is not glibc, or has no
`mallinfo2` (2.33), nothing is done. Source: mallopt(3), mallinfo(3).
"""

import ctypes
import logging
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_LARGE = 2**20
_LARGEST = 2**28


class _Info(ctypes.Structure):
    """What `mallinfo2` returns: `hblks` is the number of blocks that are mapped by themselves."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks")),
        ("keepcost", ctypes.c_size_t),
    )


def map_large_blocks() -> None:
    """Have malloc map each block of a megabyte or more by itself, and give it back when freed."""
    if libc := _glibc():
        libc.mallopt(_MMAP_MAX, 2**16)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)


@contextmanager
def apart() -> Iterator[None]:
    """Have what is allocated within lie apart from large blocks; keep what is freed after it."""
    libc = _glibc()
    if libc is None:
        yield
        return
    map_large_blocks()
    held = _hold_kept(libc)
    try:
        yield
    finally:
        for block in held:
            libc.free(ctypes.c_void_p(block))
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def first_call_apart(fn: F) -> F:
    """Return the function; its first call, for which it is compiled, is made `apart`."""
    called = False

    def call(*args: Any) -> Any:
        nonlocal called
        if called:
            return fn(*args)
        called = True
        with apart():
            return fn(*args)

    return call  # type: ignore[return-value]


def _hold_kept(libc: ctypes.CDLL) -> list[int]:
    """Return blocks that fill what malloc has kept, down to pieces of less than `_LARGE`."""
    held: list[int] = []
    size = _LARGEST
    while size >= _LARGE:
        mapped = libc.mallinfo2().hblks
        block = libc.malloc(size)
        if block and libc.mallinfo2().hblks == mapped:
            held.append(block)
        else:
            libc.free(ctypes.c_void_p(block))
            size //= 2
    return held


@cache
def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    if platform.libc_ver()[0] != "glibc" or not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype = _Info
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    return libc


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


def _say_stopped(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
