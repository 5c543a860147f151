"""Settings of the whole process: its start, malloc's handling of large blocks, no Triton on a CPU.

Imports nothing of fnet, and torch only where needed: a program calls it before it imports both.

A training step frees and allocates the same hundreds of megabytes again and again. By default glibc
returns every large block to the system with munmap, and the next step pays page faults for a new
one. Keeping freed blocks in the heap is faster, but small long-lived blocks between them fragment
the heap: large blocks no longer fit, and the process grows. Compiling a function and its first call
leave many such small blocks. So a program (the recipes do it) calls `map_large_blocks` when it
starts, and makes the first call of a step within `without_fragmentation`; after that, freed memory
is kept.

DaiNet7 at batch 128, compiled, in fp32: a step had 2,800 page faults and 8 ms of system time with
these settings, 8,400 to 23,000 faults and 37 ms without (37 ms are 4 % of the step). The ratio of
the images a second was 1.03 with a standard error of 0.03; the peak memory was the same, 80 MB more
stayed allocated. Four alternating pairs of processes, two cores of an AMD EPYC, 2026-11-28.

Both apply to the whole process and change no result. If the C library is not glibc, or has no
`mallinfo2` (2.33), they do nothing. Source: mallopt(3), mallinfo(3).
"""

import ctypes
import logging
import os
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
    """The struct `mallinfo2`: `hblks` is the number of blocks allocated with mmap."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks")),
        ("keepcost", ctypes.c_size_t),
    )


def map_large_blocks() -> None:
    """Make malloc allocate blocks of 1 MB and more with mmap, and return them when freed."""
    if libc := _glibc():
        libc.mallopt(_MMAP_MAX, 2**16)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)


@contextmanager
def without_fragmentation() -> Iterator[None]:
    """Keep allocations within the context out of the heap's large free blocks.

    After the context, malloc no longer uses mmap and keeps freed memory.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    map_large_blocks()
    held = _fill_free_blocks(libc)
    try:
        yield
    finally:
        for block in held:
            libc.free(ctypes.c_void_p(block))
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def first_call_without_fragmentation(fn: F) -> F:
    """Return the function; its first call, which compiles it, is `without_fragmentation`."""
    called = False

    def call(*args: Any) -> Any:
        nonlocal called
        if called:
            return fn(*args)
        called = True
        with without_fragmentation():
            return fn(*args)

    return call  # type: ignore[return-value]


def _fill_free_blocks(libc: ctypes.CDLL) -> list[int]:
    """Allocate all free blocks of the heap of at least `_LARGE` bytes, and return them."""
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
    """Disable Triton if there is no GPU, as in PyTorch's builds for CPUs.

    Triton compiles for GPUs. If it is installed, a program that only uses the CPU spends time and
    memory on it at each start: to load it, and to hash its library for the keys of the compile
    cache. Programs (the recipes do it) must call this before anything imports Dynamo, as
    torchvision and the compiler do. After it, `import triton` fails in this process.
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
    """Return whether standard output cannot be written to; if so, discard further output.

    Call it after an `OSError`. If standard output works, an empty line is written.
    """
    try:
        print(flush=True)
    except OSError:
        # The rest of the buffer must not fail again when Python exits.
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
